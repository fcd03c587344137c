import os

import busy
import gradio as gr


async def work(what: str) -> str:
    busy.work(*what.split("/"))
    return busy.INSTANCE


async def who() -> str:
    return busy.INSTANCE


with gr.Blocks() as demo:
    gr.api(work, api_name="work")
    gr.api(who, api_name="who")

demo.queue(default_concurrency_limit=10)
demo.launch(server_name="0.0.0.0", server_port=int(os.environ["DATABRICKS_APP_PORT"]))
