import busy
import streamlit as st

st.write(f"Served by {busy.INSTANCE}.")
for how in ["freeze", "compute", "freeze-for-ever", "nap"]:
    if st.button(how, key=how):
        busy.work(how, how)
        st.write(f"Done by {busy.INSTANCE}.")
