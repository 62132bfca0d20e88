"""Reads a trace with `json` and holds it against what the format, and a server, promise; without the writer."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass


def read(text):
    """The events. Of a server that was killed the end of the array is missing."""
    return json.loads(text if text.rstrip().endswith("]") else text + "]")


@dataclass
class Trace:
    """groups: names by pid. tracks: names by (pid, tid). spans: by track, as they began, parents first."""

    groups: dict
    tracks: dict
    spans: dict
    lives: list
    marks: list

    def of(self, prefix):
        """The spans of all tracks whose name begins so, with the name of the group and of the track."""
        return [
            (self.groups[pid], self.tracks[pid, tid], span)
            for (pid, tid), spans in self.spans.items()
            for span in spans
            if self.tracks[pid, tid].startswith(prefix)
        ]

    def commands(self):
        """(inferlet, span of the command, the one of its run or None), in the order in which they were enqueued."""
        found, runs = {}, {}
        for group, _, span in self.of("queue "):
            number = span["args"]["number"]
            if span["name"] in ("device", "host"):
                assert number not in runs
                runs[number] = span
            else:
                assert number not in found
                found[number] = group.split()[-1], span
        assert runs.keys() <= found.keys()
        return [(*found[number], runs.get(number)) for number in sorted(found)]

    def waves(self):
        """(trait, span) of each part of a wave, in the order of the launches."""
        found = [(track.split(": ")[1].split(" (")[0], span) for _, track, span in self.of("waves: ")]
        return sorted(found, key=lambda each: each[1]["args"]["wave"])


def check(events):
    """The events as a `Trace`, once it is known to be sound."""
    groups, tracks, spans, lives, marks, open_lives = {}, {}, defaultdict(list), [], [], {}
    for event in events:
        place = event["pid"], event["tid"]
        match event["ph"]:
            case "M" if event["name"] == "process_name":
                assert event["pid"] not in groups
                groups[event["pid"]] = event["args"]["name"]
            case "M":
                assert event["name"] == "thread_name"
                assert place not in tracks
                tracks[place] = event["args"]["name"]
            case "B":
                assert place in tracks
                assert place not in open_lives
                open_lives[place] = event
            case "E":
                begin = open_lives.pop(place)
                assert begin["ts"] <= event["ts"]
                lives.append((begin, event))
            case "X":
                assert place in tracks, "a track has its name before it has anything else"
                assert type(event["ts"]) is int
                assert type(event["dur"]) is int
                assert event["dur"] >= 0
                spans[place].append(event)
            case "i":
                marks.append(event)
            case other:
                raise AssertionError(other)
    for place in spans:
        spans[place].sort(key=lambda span: (span["ts"], -span["dur"]))  # of two alike the parent comes first
        check_nesting(spans[place])
    return Trace(groups, tracks, dict(spans), lives + [(begin, None) for begin in open_lives.values()], marks)


def check_nesting(spans):
    """Each is within the one that it begins in, or behind it."""
    open_ends = []
    for span in spans:
        while open_ends and open_ends[-1] <= span["ts"]:
            open_ends.pop()
        end = span["ts"] + span["dur"]
        assert not open_ends or end <= open_ends[-1], f"{span} overlaps what it does not lie in"
        if span["dur"]:
            open_ends.append(end)


def check_commands(trace):
    """Commands run after they were enqueued, in the wave that says so; no track of a queue has two at once."""
    waves, said, seen = defaultdict(list), Counter(), Counter()
    for trait, part in trace.waves():
        waves[part["args"]["wave"]].append((trait, part))
        said += Counter({(part["args"]["wave"], name): count for name, count in part["args"]["commands"].items()})
    for inferlet, command, run in trace.commands():
        enqueued, settled = command["ts"], command["ts"] + command["dur"]
        if run is None:
            assert "error" in command["args"], f"{command} never ran, and nobody knows why"
            continue
        assert enqueued <= run["ts"] <= run["ts"] + run["dur"] <= settled
        if run["name"] == "host":
            continue
        number = run["args"]["wave"]
        (part,) = [part for _, part in waves[number] if command["name"] in part["args"]["commands"]]
        assert run["ts"] == part["ts"], "it began with its wave"
        assert part["ts"] - enqueued <= part["args"]["longest_wait_us"]
        assert inferlet in part["args"]["inferlets"]
        seen[number, command["name"]] += 1
    assert {key: count for key, count in said.items() if not key[1].startswith("swap_")} == seen
