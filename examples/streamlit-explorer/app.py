"""Looks into a table: the reader's own CSV, or forty stools of a coppice wood.

Streamlit keeps a session in the memory of one process: the WebSocket of the page, `st.session_state`, the files that
were uploaded and those offered for download. On several instances it works because the routing cookie leads every
request of a browser to the same one. Without that an upload meets an instance that does not know the session, and ends
with 400 "Invalid session_id". A new deployment begins every session anew, because its processes are new.
"""

import os
import random

import pandas as pd
import streamlit as st

SLOT = os.environ.get("COPPICE_SLOT", "0")
INSTANCE = os.environ.get("COPPICE_INSTANCE_ID", "local")
MAX_GROUPS = 30
STEMS = {"hazel": 14, "ash": 6, "chestnut": 9, "willow": 18}


@st.cache_data
def wood():
    """The same for everybody and in every instance."""
    chance = random.Random(7)
    rows = []
    for stool in range(1, 41):
        species = chance.choice(list(STEMS))
        age = chance.randint(1, 12)
        height = round(age * chance.uniform(0.5, 1.1), 1)
        rows.append((stool, species, STEMS[species] + chance.randint(-3, 3), age, height))
    return pd.DataFrame(rows, columns=["stool", "species", "stems", "years since cut", "height, m"])


def chosen_table(upload):
    if upload is None:
        return wood()
    try:
        return pd.read_csv(upload)
    except ValueError as error:  # what pandas says of text that is no table, or not UTF-8
        st.error(f"{upload.name} cannot be read as CSV: {error}")
        st.stop()


def keep(view):
    st.session_state.kept = [*st.session_state.get("kept", []), view]


st.set_page_config(page_title=f"Explorer in slot {SLOT}", page_icon="🌳", layout="wide")

with st.sidebar:
    upload = st.file_uploader("A CSV of your own", type="csv", key="upload")
    st.caption(f"Served by slot {SLOT} ({INSTANCE}). Your session lives there, and nowhere else.")

table = chosen_table(upload)
groups = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
groups = [name for name in groups if 1 < table[name].nunique() <= MAX_GROUPS]
numbers = [name for name in table.columns if pd.api.types.is_numeric_dtype(table[name])]

st.title("What is in this table?")
left, right = st.columns(2)
shown, label = table, "everything"
group = left.selectbox("Group by", groups, key="group") if groups else None
if group is not None:
    only = right.multiselect(f"Only these of {group}", sorted(table[group].dropna().unique()), key="only")
    if only:
        shown, label = table[table[group].isin(only)], ", ".join(map(str, only))
number = left.selectbox("Show", numbers, index=len(numbers) - 1, key="number") if numbers else None

st.write(f"{len(shown)} of {len(table)} rows")
if group is not None and number is not None:
    st.bar_chart(shown.groupby(group)[number].mean(), y_label=f"mean of {number}")
st.dataframe(shown, hide_index=True)

save, remember, _ = st.columns([1, 1, 3])
save.download_button("Download these rows", shown.to_csv(index=False), "rows.csv", "text/csv")
view = {"view": label, "rows": len(shown)} | ({f"mean of {number}": round(shown[number].mean(), 2)} if number else {})
remember.button("Keep this view", key="keep", on_click=keep, args=[view])
kept = st.session_state.get("kept", [])
st.write(f"Views kept in this session: {len(kept)}")
if kept:
    st.dataframe(pd.DataFrame(kept), hide_index=True)
