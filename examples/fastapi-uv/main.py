"""When is this wood to be cut? A small API on the packages of uv.lock. It keeps nothing, so any instance may answer."""

import os
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field


class Species(StrEnum):
    hazel = "hazel"
    ash = "ash"
    chestnut = "chestnut"
    willow = "willow"


# What a pole grows in a year, in metres; how thick its foot is, in millimetres for each metre of its height.
GROWTH = {Species.hazel: 0.9, Species.ash: 0.6, Species.chestnut: 0.75, Species.willow: 1.3}
TAPER = {Species.hazel: 8, Species.ash: 13, Species.chestnut: 12, Species.willow: 7}


class Where(BaseModel):
    app: str
    instance: str
    slot: int
    deployment: str
    packages: dict[str, str] = Field(description="As they are installed, so as uv.lock has them")


class Rotation(BaseModel):
    species: Species
    years: int = Field(description="From one cut to the next")
    height: float = Field(description="Of the poles then, in metres")


app = FastAPI(title="Coppice wood")


@app.get("/")
def where() -> Where:
    return Where(
        app=os.environ.get("COPPICE_APP", "fastapi-uv"),
        instance=os.environ.get("COPPICE_INSTANCE_ID", "local"),
        slot=int(os.environ.get("COPPICE_SLOT", "0")),
        deployment=os.environ.get("COPPICE_DEPLOYMENT", "none"),
        packages={name: version(name) for name in ("fastapi", "uvicorn")},
    )


@app.get("/api/rotation")
def rotation(
    species: Species,
    thickness: Annotated[int, Query(ge=10, le=200, description="Of the pole at its foot, in millimetres")],
) -> Rotation:
    """How long until poles of this thickness can be cut."""
    height = thickness / TAPER[species]
    years = max(1, round(height / GROWTH[species]))
    return Rotation(species=species, years=years, height=round(height, 1))


@app.get("/healthz")
def healthz() -> str:
    return "ok"
