"""A dashboard on nothing but the pre-installed libraries of a standard app: the app to convert first.

It keeps nothing: what a chart shows follows from the inputs alone. So it does not matter which instance answers, and
the app can be converted, resized and restarted while somebody looks at it.
"""

import os
import random

import plotly.graph_objects as go
from dash import Dash, Input, Output, dcc, html

SLOT = os.environ.get("COPPICE_SLOT", "0")
GREENS = ["#2f6b3c", "#5a9367", "#8fb996", "#c3dbc5"]
SPECIES = ["hazel", "ash", "chestnut", "willow"]
RATES = {"hazel": 0.9, "ash": 0.6, "chestnut": 0.75, "willow": 1.3}

app = Dash(__name__, title="Coppice wood")
server = app.server

card = {"background": "white", "borderRadius": "12px", "padding": "1rem 1.25rem", "boxShadow": "0 1px 4px #0002"}

app.layout = html.Main(
    style={"font": "16px/1.5 system-ui, sans-serif", "maxWidth": "62rem", "margin": "2rem auto", "padding": "0 1rem"},
    children=[
        html.H1("What a coppice wood grows", style={"marginBottom": 0}),
        html.P(f"Cut one stem, the tree lives. This page came from the instance in slot {SLOT}."),
        html.Div(
            style={**card, "display": "grid", "gridTemplateColumns": "1fr 1fr", "gap": "2rem"},
            children=[
                html.Label(["Years between cuts", dcc.Slider(4, 20, 2, value=8, id="rotation")]),
                html.Label(["Species", dcc.Dropdown(SPECIES, SPECIES[:3], multi=True, id="species")]),
            ],
        ),
        html.Div(
            style={"display": "grid", "gridTemplateColumns": "3fr 2fr", "gap": "1rem", "marginTop": "1rem"},
            children=[
                html.Div(dcc.Graph(id="growth"), style=card),
                html.Div(dcc.Graph(id="harvest"), style=card),
            ],
        ),
    ],
)


def stems(species, rotation):
    """Height in metres for each of 40 years; the weather of a species is the same for everybody."""
    weather = random.Random(species)
    height, heights = 0.0, []
    for year in range(40):
        height = 0.0 if year % rotation == 0 else height + RATES[species] * (0.8 + 0.4 * weather.random())
        heights.append(round(height, 2))
    return heights


def plain(figure, title):
    return figure.update_layout(
        title=title, template="plotly_white", margin={"l": 40, "r": 10, "t": 50, "b": 40}, legend={"orientation": "h"}
    )


@app.callback(Output("growth", "figure"), Output("harvest", "figure"), Input("rotation", "value"), Input("species", "value"))
def draw(rotation, species):
    growth, harvest = go.Figure(), go.Figure()
    for name in species or []:
        colour = GREENS[SPECIES.index(name)]
        heights = stems(name, rotation)
        cuts = [height**2 for height, after in zip(heights, heights[1:]) if after == 0]
        growth.add_scatter(y=heights, name=name, line={"color": colour, "width": 3, "shape": "spline"})
        harvest.add_bar(x=[name], y=[round(sum(cuts), 1)], name=name, marker_color=colour, showlegend=False)
    return plain(growth, "Height of the stems, m"), plain(harvest, "Wood in 40 years, relative")


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("DATABRICKS_APP_PORT", "8000")))
