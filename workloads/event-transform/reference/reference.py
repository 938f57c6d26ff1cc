#!/usr/bin/env python3
"""The reference implementation of event-transform: NDJSON on standard input, CloudEvents on
standard output.

Written from ../README.md and sharing nothing with the Rust code: it uses Python's JSON, its calendar
and the IANA time zone database (Python's `zoneinfo`; where the system has none: `pip install tzdata`).
Its output must be the same, byte for byte.
"""

import base64
import csv
import json
import math
import re
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

DATA = Path(__file__).resolve().parent.parent.parent / "data"
LINE_BYTES_MAX = 16 * 1024
INPUT_BYTES_MAX = 1024
DEPTH_MAX = 64
EARTH_RADIUS_KM = 6371.0088
SOURCE = "/vyr/event-transform"
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

HHMM = "a local time HHMM from 0 to 2400"
DELAY = "an integer from -240 to 2880, or null"
# name: (kind, lowest, highest, may be null, what is wanted)
FIELDS = {
    "year": ("int", 2007, 2025, False, "an integer from 2007 to 2025"),
    "month": ("int", 1, 12, False, "an integer from 1 to 12"),
    "day": ("int", 1, 31, False, "an integer from 1 to 31"),
    "dep_time": ("clock", 0, 2400, True, HHMM + ", or null"),
    "sched_dep_time": ("clock", 0, 2400, False, HHMM),
    "dep_delay": ("int", -240, 2880, True, DELAY),
    "arr_time": ("clock", 0, 2400, True, HHMM + ", or null"),
    "sched_arr_time": ("clock", 0, 2400, False, HHMM),
    "arr_delay": ("int", -240, 2880, True, DELAY),
    "carrier": ("str", None, None, False, "a string"),
    "flight": ("int", 1, 9999, False, "an integer from 1 to 9999"),
    "tailnum": ("tail", None, None, True, "a string of 1 to 8 capital letters or digits, or null"),
    "origin": ("str", None, None, False, "a string"),
    "dest": ("str", None, None, False, "a string"),
    "air_time": ("int", 1, 1440, True, "an integer from 1 to 1440, or null"),
    "distance": ("int", 1, 12000, False, "an integer from 1 to 12000"),
    "hour": ("int", 0, 24, False, "an integer from 0 to 24"),
    "minute": ("int", 0, 59, False, "an integer from 0 to 59"),
    "time_hour": ("hour", None, None, False, "a string YYYY-MM-DDTHH:00:00Z"),
}
PATTERNS = {
    "tail": re.compile(r"[A-Z0-9]{1,8}", re.ASCII),
    "hour": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:00:00Z", re.ASCII),
}


class Rejected(Exception):
    """The event is malformed: a stable code, the field if there is one, and a sentence."""

    def __init__(self, reason, field, text):
        super().__init__(text)
        self.reason, self.field, self.text = reason, field, text


class Tables:
    """What events are enriched with."""

    def __init__(self):
        self.airlines = {row["carrier"]: row["name"] for row in rows("airlines.csv")}
        self.airports = {row["faa"]: row for row in rows("airports.csv")}
        self.airports.update((row["faa"], row) for row in rows("airports-supplement.csv"))
        self.planes = {row["tailnum"]: row for row in rows("planes.csv")}
        self.zones = {}
        self.distances = {}

    def zone(self, code):
        name = self.airports[code]["tzone"]
        if name not in self.zones:
            self.zones[name] = ZoneInfo(name)
        return self.zones[name]

    def tenths_km(self, origin, dest):
        """The distance on a sphere, from the angle between the two position vectors."""
        if (origin, dest) not in self.distances:
            here, there = self.vector(origin), self.vector(dest)
            chord = math.dist(here, there)
            angle = 2 * math.asin(min(1.0, chord / 2))
            self.distances[origin, dest] = math.floor(EARTH_RADIUS_KM * angle * 10 + 0.5)
        return self.distances[origin, dest]

    def vector(self, code):
        row = self.airports[code]
        latitude, longitude = math.radians(float(row["lat"])), math.radians(float(row["lon"]))
        return (
            math.cos(latitude) * math.cos(longitude),
            math.cos(latitude) * math.sin(longitude),
            math.sin(latitude),
        )


def rows(name):
    with open(DATA / name, encoding="ascii", newline="") as file:
        for row in csv.DictReader(file):
            yield {key: field.replace("\\", "") for key, field in row.items()}


class NotAnInteger:
    """Stands for a number with a fraction or an exponent."""


def parse(line):
    if line.strip(b" \t\r\n") == b"":
        raise Rejected("line_empty", None, "the line is empty")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("utf8_invalid", None, "the line is not UTF-8") from None
    try:
        value = json.loads(
            text,
            parse_int=lambda digits: int(digits) if len(digits) < 20 else 10**20,
            parse_float=lambda _: NotAnInteger(),
            parse_constant=no_constant,
        )
        if depth(text) > DEPTH_MAX:
            raise ValueError
    except (ValueError, RecursionError):
        sentence = f"the line is not JSON (RFC 8259) or is nested deeper than {DEPTH_MAX} levels"
        raise Rejected("json_invalid", None, sentence) from None
    if not isinstance(value, dict):
        raise Rejected("not_object", None, "the line is JSON but not an object")
    return value


def no_constant(name):
    raise ValueError(name)


def depth(text):
    """How deeply sound JSON is nested, members that are repeated later included."""
    deepest = level = 0
    for bracket in re.sub(r'"(?:[^"\\]|\\.)*"|[^][{}"]', "", text):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def check_field(event, name):
    kind, lowest, highest, nullable, wanted = FIELDS[name]
    if name not in event:
        raise Rejected("field_missing", name, f"{name} is missing")
    value = event[name]
    if value is None and nullable:
        return
    expected = int if kind in ("int", "clock") else str
    if type(value) is not expected:
        raise Rejected("field_type", name, f"{name} must be {wanted}")
    if expected is int and not lowest <= value <= highest:
        raise Rejected("field_range", name, f"{name} must be {wanted}")
    if kind == "clock" and value % 100 > 59:
        raise Rejected("time_impossible", name, f"{name} is not a time of day")
    if kind in PATTERNS and not PATTERNS[kind].fullmatch(value):
        raise Rejected("field_format", name, f"{name} must be {wanted}")


def check_codes(event, tables):
    try:
        midnight = datetime(event["year"], event["month"], event["day"])
    except ValueError:
        raise Rejected("date_impossible", "day", "the month has no such day") from None
    if event["carrier"] not in tables.airlines:
        raise Rejected("carrier_unknown", "carrier", "carrier is not in the airline table")
    for name in ("origin", "dest"):
        if event[name] not in tables.airports:
            raise Rejected("airport_unknown", name, f"{name} is not in the airport table")
    if event["origin"] == event["dest"]:
        raise Rejected("route_invalid", "dest", "origin and dest are the same airport")
    return midnight


def check_nulls(event):
    def wrong(name):
        sentence = f"{name} is null where it must not be, or is not null where it must be"
        return Rejected("nulls_inconsistent", name, sentence)

    known = {name: event[name] is not None for name in FIELDS}
    if known["dep_delay"] != known["dep_time"]:
        raise wrong("dep_delay")
    if known["arr_time"] and not known["dep_time"]:
        raise wrong("arr_time")
    if known["arr_delay"] and not known["arr_time"]:
        raise wrong("arr_delay")
    if known["air_time"] != known["arr_delay"]:
        raise wrong("air_time")


def clock(hhmm):
    return timedelta(hours=hhmm // 100, minutes=hhmm % 100)


def utc(local, zone):
    return local.replace(tzinfo=zone).astimezone(timezone.utc)


def first_after(instant, time_of_day, midnight, zone):
    """The first local time with this time of day that is later than an instant."""
    local = midnight - DAY + time_of_day
    while utc(local, zone) <= instant:
        local += DAY
    return local


def contradiction(name):
    return Rejected("time_inconsistent", name, f"{name} contradicts the other times")


def stamp(instant):
    return None if instant is None else instant.strftime("%Y-%m-%dT%H:%M:%SZ")


class Decimal1(float):
    """A number that is written with one decimal."""

    def __new__(cls, tenths):
        self = super().__new__(cls, tenths / 10)
        self.tenths = tenths
        return self

    def __repr__(self):
        return f"{self.tenths // 10}.{self.tenths % 10}"


def delay_class(delay):
    for bound, name in ((0, "early"), (15, "on_time"), (45, "minor"), (120, "moderate")):
        if delay < bound:
            return name
    return "severe"


def transform(event, tables):
    for name in FIELDS:
        check_field(event, name)
    midnight = check_codes(event, tables)
    check_nulls(event)
    origin, dest = event["origin"], event["dest"]
    origin_zone, dest_zone = tables.zone(origin), tables.zone(dest)

    left_at = midnight + clock(event["sched_dep_time"])
    scheduled_departure = utc(left_at, origin_zone)
    if event["hour"] * 100 + event["minute"] != event["sched_dep_time"]:
        raise contradiction("hour")
    if scheduled_departure.strftime("%Y-%m-%dT%H:00:00Z") != event["time_hour"]:
        raise contradiction("time_hour")
    due_at = first_after(scheduled_departure, clock(event["sched_arr_time"]), midnight, dest_zone)
    scheduled_arrival = utc(due_at, dest_zone)

    status = delay = "cancelled"
    departure = arrival = elapsed = arrival_delay = speed = None
    distance = tables.tenths_km(origin, dest)
    if event["dep_time"] is not None:
        status = delay = "diverted"
        local = left_at + event["dep_delay"] * MINUTE
        if (local - midnight - clock(event["dep_time"])) % DAY:
            raise contradiction("dep_delay")
        departure = utc(local, origin_zone)
        if event["air_time"] is not None:
            status, arrival_delay = "completed", event["arr_delay"]
            delay = delay_class(arrival_delay)
            local = first_after(departure, clock(event["arr_time"]), midnight, dest_zone)
            if local - due_at != arrival_delay * MINUTE:
                raise contradiction("arr_delay")
            arrival = utc(local, dest_zone)
            elapsed = (arrival - departure) // MINUTE
            if elapsed < event["air_time"]:
                raise contradiction("air_time")
            # Halves are rounded up.
            speed = Decimal1((distance * 120 + event["air_time"]) // (2 * event["air_time"]))

    data = {
        "carrier": event["carrier"],
        "airline": tables.airlines[event["carrier"]],
        "flight": event["flight"],
        "status": status,
        "delay_class": delay,
        "origin": airport(origin, tables),
        "dest": airport(dest, tables),
        "scheduled_departure": stamp(scheduled_departure),
        "actual_departure": stamp(departure),
        "departure_delay_min": event["dep_delay"],
        "scheduled_arrival": stamp(scheduled_arrival),
        "actual_arrival": stamp(arrival),
        "arrival_delay_min": arrival_delay,
        "elapsed_min": elapsed,
        "air_time_min": event["air_time"],
        "distance_km": Decimal1(distance),
        "reported_distance_mi": event["distance"],
        "ground_speed_kmh": speed,
        "aircraft": aircraft(event["tailnum"], tables),
    }
    identifier = (
        f"{midnight:%Y-%m-%d}.{event['carrier']}{event['flight']}.{origin}-{dest}"
        f".{event['sched_dep_time']:04}"
    )
    return {
        "specversion": "1.0",
        "id": identifier,
        "source": SOURCE,
        "type": "dev.vyr.flight.transformed.v1",
        "time": stamp(arrival or departure or scheduled_departure),
        "datacontenttype": "application/json",
        "data": data,
    }


def airport(code, tables):
    row = tables.airports[code]
    return {"code": code, "name": row["name"], "zone": row["tzone"]}


def aircraft(tail, tables):
    if tail is None:
        return None
    described = {"tail": tail}
    row = tables.planes.get(tail)
    if row is not None:
        for name in ("year", "type", "manufacturer", "model", "engines", "engine", "seats"):
            field = None if row[name] == "NA" else row[name]
            number = field is not None and name in ("year", "engines", "seats")
            described[name] = int(field) if number else field
    return described


def dead_letter(rejected, number, line):
    kept = line[:INPUT_BYTES_MAX]
    digest = 0xCBF29CE484222325
    for byte in kept:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    data = {
        "line": number,
        "reason": rejected.reason,
        "field": rejected.field,
        "text": rejected.text,
    }
    try:
        data["input"] = kept.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(kept) < len(line) and error.reason == "unexpected end of data":
            data["input"] = kept[: error.start].decode("utf-8")
        else:
            data["input_base64"] = base64.b64encode(kept).decode("ascii")
    data["input_bytes"] = len(line)
    return {
        "specversion": "1.0",
        "id": f"dead-letter-{number}-{digest:016x}",
        "source": SOURCE,
        "type": "dev.vyr.flight.dead-letter.v1",
        "datacontenttype": "application/json",
        "data": data,
    }


def answer(line, number, tables):
    try:
        if len(line) > LINE_BYTES_MAX:
            sentence = f"the line is longer than {LINE_BYTES_MAX} bytes"
            raise Rejected("line_too_long", None, sentence)
        return transform(parse(line), tables)
    except Rejected as rejected:
        return dead_letter(rejected, number, line)


def main():
    tables = Tables()
    received = dead = 0
    for received, line in enumerate(sys.stdin.buffer, start=1):
        cloudevent = answer(line.removesuffix(b"\n"), received, tables)
        dead += "dead-letter" in cloudevent["type"]
        text = json.dumps(cloudevent, ensure_ascii=False, separators=(",", ":"))
        sys.stdout.buffer.write(text.encode("utf-8") + b"\n")
    sys.stdout.flush()
    summary = f"received {received}, transformed {received - dead}, dead letters {dead}"
    print(f"event-transform: {summary}", file=sys.stderr)


if __name__ == "__main__":
    main()
