"""The journal's tables; ``record`` columns hold JSON."""

from __future__ import annotations

import json

__all__ = ["SCHEMA", "encode"]

encode = json.JSONEncoder(ensure_ascii=False).encode
"""A record as text. ``json.dumps`` would make an encoder for every record."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chains (
    id INTEGER PRIMARY KEY, platform TEXT NOT NULL, host TEXT NOT NULL, kind TEXT NOT NULL,
    value TEXT NOT NULL, lo INTEGER, hi INTEGER, cursor TEXT, state TEXT NOT NULL DEFAULT 'open',
    reason TEXT, pages INTEGER NOT NULL DEFAULT 0, mark TEXT, steps INTEGER NOT NULL DEFAULT 0,
    span INTEGER NOT NULL DEFAULT 1, fresh INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS posts (
    platform TEXT, host TEXT, post_id TEXT, author_id TEXT NOT NULL, created_at INTEGER,
    collected_at INTEGER NOT NULL, chain INTEGER, kept INTEGER NOT NULL, sensitive INTEGER,
    flags TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (platform, host, post_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS authors (
    platform TEXT, host TEXT, author_id TEXT, source TEXT, pass INTEGER,
    fetched_at INTEGER NOT NULL, flags TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (platform, host, author_id, source, pass)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wanted (
    platform TEXT, host TEXT, author_id TEXT, state TEXT NOT NULL DEFAULT 'wanted',
    PRIMARY KEY (platform, host, author_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    platform TEXT, host TEXT, name TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (platform, host, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, token TEXT, buckets TEXT NOT NULL, started REAL NOT NULL, ended REAL);
CREATE TABLE IF NOT EXISTS tokens (
    platform TEXT, host TEXT, token TEXT, calls INTEGER, failures INTEGER, retired TEXT,
    PRIMARY KEY (platform, host, token)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (digest TEXT PRIMARY KEY) WITHOUT ROWID;
"""
