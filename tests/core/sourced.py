"""Fixture for core tests: a worker that also reads orders by user, and events by team."""

from __future__ import annotations

from typing import Any

from gateway.core.records import LogKind
from tests.core.clients import Client
from tests.core.stage import Stage
from tests.core.world import Extra

ORDERS = Extra("orders", LogKind.USER, 2)
TEAMS = Extra("teams", LogKind.GROUP, 2)


def stage_of(*extras: Extra, **setup: Any) -> Stage:
    """Return a stage with these topics besides the usual two; by default orders and teams."""
    return Stage(extras=extras or (ORDERS, TEAMS), **setup)


def client_of(stage: Stage, user: bytes = b"a", *teams: bytes) -> Client:
    """Return a client whose token lists these teams."""
    return stage.client(user=user, groups={"teams": teams})


def write(stage: Stage, topic: str, name: bytes, count: int = 1) -> list[int | None]:
    """Write events for a user or a team; return their numbers."""
    simulated = stage.world.topics[topic]
    [log, *_] = simulated.logs([name])
    return stage.write(count, simulated.key.key(name), log=log)
