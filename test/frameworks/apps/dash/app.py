import busy
from dash import Dash, Input, Output, dcc, html

app = Dash(__name__)
server = app.server
app.layout = html.Div([dcc.Input(id="what"), html.Div(id="done")])


@server.get("/who")
def who() -> dict:
    return {"instance": busy.INSTANCE}


@app.callback(Output("done", "children"), Input("what", "value"), prevent_initial_call=True)
def work(what: str) -> str:
    busy.work(*what.split("/"))
    return busy.INSTANCE
