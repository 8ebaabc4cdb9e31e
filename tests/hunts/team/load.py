"""What the machines do, drawn at random: the commands of a team's day, and which of them is killed, how and when."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tests.hunts.team.servers import RESTARTED
from tests.support.tiny_project import MODEL

Command = tuple[str, ...]
# How often each happens to a command: most are killed by themselves, for that is cheap.
KINDS = {"command": 234, "adapt": 36, "pause": 12, "server": 12, "machine": 6}
VERBS = {"promote": 5, "override": 5, "rollback": 5, "approve": 4, "history": 2, "gc": 1}
# Those beside it, which run to their end.
BESIDE = {"promote": 1, "override": 1, "rollback": 1, "approve": 1, "history": 4}
# One that a lease outlives is long: a pause of more than a minute.
PAUSES_SECONDS = (1.0, 2.0, 4.0, 25.0, 70.0)
KILLS_PER_TRAINING = 4
# How often another machine is meant: it waits a minute for the lease of one that it cannot see to be dead.
COMPANION_ELSEWHERE, REPAIR_ELSEWHERE, FINISH_ELSEWHERE = 1 / 20, 1 / 40, 1 / 4
# Every so many trainings are of a model of its own, whose first version waits for a person.
ASKED_EVERY = 2
FIRST_SECONDS = {"adapt": 12.0}
USUAL_SECONDS = 1.5
# How often a person decides what can be decided.
USUALLY = 0.8


@dataclass
class Trial:
    """One kill."""

    kind: str
    machine: int
    model: str
    command: Command
    after: float
    pause: tuple[float, float] | None
    companion: Command
    companion_machine: int
    repair_machine: int
    server: str | None


@dataclass
class Load:
    """What there is to be decided about, as it grows."""

    drawn: random.Random
    versions: dict[str, int] = field(default_factory=lambda: {MODEL: 1})
    """The registered models with a decision, and how many versions each has."""
    waiting: list[str] = field(default_factory=list)
    """The models whose first version waits for a person."""
    seconds: dict[str, float] = field(default_factory=lambda: dict(FIRST_SECONDS))
    """How long each verb takes, when nothing comes between."""
    training: int = 10
    kills_left: int = KILLS_PER_TRAINING

    def next(self, kinds: Mapping[str, int]) -> Trial:
        """The next trial."""
        drawn = self.drawn
        kind = drawn.choices([*kinds], [*kinds.values()])[0]
        machine = drawn.randrange(2)
        model = drawn.choice([MODEL, MODEL, *self.versions])
        command = self.adapt() if kind == "adapt" else self.short(model)
        pause = None
        if kind == "pause":
            pause = (drawn.uniform(0, self.usual(command)), drawn.choice(PAUSES_SECONDS))
        return Trial(
            kind=kind,
            machine=machine,
            model=model_of(command, model),
            command=command,
            after=drawn.uniform(0, self.usual(command)),
            pause=pause,
            companion=self.short(model, BESIDE),
            companion_machine=1 - machine if drawn.random() < COMPANION_ELSEWHERE else machine,
            repair_machine=1 - machine if drawn.random() < REPAIR_ELSEWHERE else machine,
            server=drawn.choice(RESTARTED) if kind == "server" else None,
        )

    def short(self, model: str, verbs: Mapping[str, int] = MappingProxyType(VERBS)) -> Command:
        """A command of a second or two."""
        drawn = self.drawn
        verb = drawn.choices([*verbs], [*verbs.values()])[0]
        newest = self.versions[model]
        if verb == "approve":
            asked = drawn.choice(self.waiting) if self.waiting else model
            answer = drawn.choice([[], [], ["--reject"]])
            return ("approve", asked, "--version", "1", "--by", "ann", "--reason", "looked at", *answer)
        if verb in ("promote", "override"):
            # Of most models the first version alone passed the gate, and what passed is not overridden.
            usual = 1 if verb == "promote" else drawn.randint(min(2, newest), newest)
            version = usual if drawn.random() < USUALLY else drawn.randint(1, newest)
            return (verb, model, "--version", str(version), "--reason", f"{verb} in a hunt")
        if verb == "rollback":
            return ("rollback", model, "--reason", "rollback in a hunt")
        return ("history", model) if verb == "history" else ("gc",)

    def adapt(self) -> Command:
        """The present training, whose seed is its number."""
        asked = self.training % ASKED_EVERY == 0
        model = ("--set", f"registry.model={self.asked}") if asked else ()
        return ("adapt", "--json", "--set", f"adaptation.seed={self.training}", *model)

    @property
    def asked(self) -> str:
        return f"asked-{self.training}"

    def usual(self, command: Command) -> float:
        return self.seconds.get(command[0], USUAL_SECONDS)

    def note_seconds(self, command: Command, seconds: float) -> None:
        """How long one took that nothing came between; a short one that waited for another tells nothing."""
        limit = 60.0 if command[0] == "adapt" else 15.0
        if seconds < limit:
            self.seconds[command[0]] = 0.7 * self.usual(command) + 0.3 * seconds


def model_of(command: Command, otherwise: str) -> str:
    """The model that a command is about."""
    for part in command:
        if part.startswith("registry.model="):
            return part.partition("=")[2]
    return MODEL if command[0] in ("adapt", "gc") else command[1] if len(command) > 1 else otherwise


def seed_of(command: Command) -> int | None:
    """Of a training."""
    for part in command:
        if part.startswith("adaptation.seed="):
            return int(part.partition("=")[2])
    return None
