"""The fixed table of capitals; coordinates have two decimals, as the answers give them."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Country:
    name: str
    article: str
    capital: str
    latitude: float
    longitude: float

    @property
    def in_sentence(self) -> str:
        return f"{self.article} {self.name}" if self.article else self.name

    @property
    def as_json(self) -> str:
        return json.dumps({"name": self.capital, "latitude": self.latitude, "longitude": self.longitude})


def _read() -> list[Country]:
    with (Path(__file__).parent / "countries.csv").open(newline="") as file:
        return [
            Country(row["country"], row["article"], row["capital"], float(row["latitude"]), float(row["longitude"]))
            for row in csv.DictReader(file)
        ]


COUNTRIES = tuple(_read())
