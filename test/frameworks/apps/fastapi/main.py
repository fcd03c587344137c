import busy
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def front() -> dict:
    return {"instance": busy.INSTANCE}


@app.get("/work/{how}/{run}")
async def work(how: str, run: str) -> dict:
    # In an `async def`, as so many are: until it returns, the event loop does nothing else.
    busy.work(how, run)
    return {"instance": busy.INSTANCE}
