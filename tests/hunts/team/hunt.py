"""The hunt: a kill, a repair, a look at every invariant; again and again, until one does not hold."""

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from graftline.flows.servers.reasons import LOST_AFTER
from tests.hunts.team import invariants
from tests.hunts.team.fleet import Done, Machine
from tests.hunts.team.invariants import END_SECONDS, Looks
from tests.hunts.team.load import FINISH_ELSEWHERE, KILLS_PER_TRAINING, Load, Trial, seed_of
from tests.hunts.team.servers import TeamServers
from tests.support.tiny_project import MODEL

# Done, refused by the registry; and where a server was killed in its middle: it is away.
FINE, FINE_WITHOUT_SERVER = (0, 6), (0, 6, 7)
KILLED = -9
# So many of the trainings that were killed are done once more by nobody else.
COMPARED = 3
# Prefect's rule has ended the run by then, and the bound has not passed yet.
MENDED_SECONDS = LOST_AFTER + 30.0
FINISHED = ": finishing the "
NOT_OURS = ("Traceback", "unexpected ")


class Violated(Exception):  # noqa: N818 - what the hunt is for
    """An invariant does not hold."""


@dataclass
class Hunt:
    """What it has done so far."""

    servers: TeamServers
    machines: list[Machine]
    looks: Looks
    load: Load
    counted: Counter[str] = field(default_factory=Counter)
    results: dict[int, dict[str, object]] = field(default_factory=dict)
    """What `adapt` printed, by its seed."""
    overtaken: int = 0
    mended: set[int] = field(default_factory=set)
    """The seeds of killed trainings of which MLflow's part was ended, too."""

    def begin(self) -> None:
        """Two versions, the first one approved."""
        one, two = self.machines
        self._fine(one.run("adapt", "--json", "--set", "adaptation.seed=0"))
        self._fine(one.run("approve", MODEL, "--version", "1", "--by", "ann", "--reason", "the first"))
        self._fine(two.run("adapt", "--json", "--set", "adaptation.seed=1"))
        self.load.versions[MODEL] = 2
        self._fine(two.run("override", MODEL, "--version", "2", "--reason", "to have two"))
        self._look(MODEL, one.run("history", MODEL), ())

    def kills(self, count: int, deadline: float, kinds: Mapping[str, int]) -> None:
        """So many kills, or as many as begin before the deadline. Raises: Violated at the first that costs anything."""
        made = 0
        while made < count and time.monotonic() < deadline:
            trial = self.load.next(kinds)
            began = time.monotonic()
            ended = self._done(trial)
            if trial.kind in ("command", "adapt") and ended[0].code != KILLED:
                self.overtaken += 1
                self._note_end(ended[0])
                continue
            made += 1
            self.counted[trial.kind] += 1
            repaired = self._repair(trial)
            self.counted["moves finished by the next command"] += sum(FINISHED in one.err for one in [*ended, repaired])
            line = {"kill": made, **asdict(trial), "codes": [one.code for one in ended],
                    "repair_seconds": repaired.seconds, "seconds": round(time.monotonic() - began, 1)}  # fmt: skip
            self._mend_lost(trial)
            faults = invariants.after_a_kill(self.looks, trial.model, repaired.err)
            print(json.dumps({**line, "faults": faults}), flush=True)
            self._require_none(faults, [*ended, repaired])
            if trial.kind == "adapt":
                self._go_on_training(trial)

    def end(self) -> dict[str, object]:
        """Finish what is left, wait until the bound has passed, and look at everything once more."""
        if self.counted["adapt"]:
            self._finish(self.machines[0])
        left = max(self.looks.killed.values(), default=0.0) + END_SECONDS + 5 - time.time()
        time.sleep(max(0.0, left))
        listed = self._fine(self.machines[1].run("runs", "--json"))
        faults = invariants.every_killed_run_has_ended(self.looks)
        for model in self.looks.models:
            said = self._fine(self.machines[0].run("history", model)).err
            faults += invariants.after_a_kill(self.looks, model, said)
        faults += invariants.everything_is_proven(self.looks, MODEL)
        killed = sorted(set(self.results) & set(self.looks.killed))
        compared = killed[:: max(1, len(killed) // COMPARED)][:COMPARED]
        for seed in compared:
            faults += invariants.the_result_is_the_same(self.looks, self.results[seed], seed)
        self._require_none(faults, [])
        return {
            "compared with undisturbed trainings": compared,
            "ended_in_mlflow": len(listed.told["ended_in_mlflow"]),
            "models": len(self.looks.models),
        }

    def _done(self, trial: Trial) -> list[Done]:
        """Do it. Returns: how the command ended, and its companion after it; what a machine took along was killed."""
        machine, other = self.machines[trial.machine], self.machines[trial.companion_machine]
        by_itself = trial.kind in ("command", "adapt")
        machine.send(*trial.command, kill_after=trial.after if by_itself else None, pause=trial.pause)
        other.send(*trial.companion)
        lost: list[Done] = []
        if trial.kind == "machine":
            time.sleep(trial.after)
            lost = [Done(command, KILLED, trial.after, "", "") for command in machine.kill()]
            machine.start()
        if trial.server is not None:
            time.sleep(trial.after)
            self.servers.restart(trial.server)
        both = {machine.name: machine, other.name: other}.values()
        ended = lost + [each.wait() for each in both for _ in [*each.commands]]
        ended.sort(key=lambda done: (done.command != trial.command, done.code != KILLED))
        if (seed := seed_of(trial.command)) is not None and ended[0].code == KILLED:
            self.looks.killed[seed] = time.time()
            self.mended.discard(seed)
        self._require_fine(ended, trial)
        return ended

    def _require_fine(self, ended: list[Done], trial: Trial) -> None:
        allowed = FINE_WITHOUT_SERVER if trial.server else FINE
        for done in ended:
            if done.code == KILLED:
                continue
            if done.code == 0 and done.command == trial.companion:
                self.load.note_seconds(done.command, done.seconds)  # so that kills reach the end of a command, too
            if done.code not in allowed or any(words in done.err for words in NOT_OURS):
                print(json.dumps(asdict(trial)), flush=True)
                self._require_none([f"{' '.join(done.command)}: exit code {done.code}"], ended)
            if done.command[0] == "approve" and done.code == 0 and done.command[1] in self.load.waiting:
                self.load.waiting.remove(done.command[1])

    def _mend_lost(self, trial: Trial) -> None:
        """What the rule of `graftline deploy` has a worker do, of which this hunt has none: somebody looks."""
        due = {seed for seed, killed in self.looks.killed.items() if time.time() - killed > MENDED_SECONDS}
        if due - self.mended:
            self.mended |= due
            self._fine(self.machines[trial.machine].run("runs", "--json"))

    def _repair(self, trial: Trial) -> Done:
        """The next command on the machine, or on the other one, after which all is well again."""
        done = self.machines[trial.repair_machine].run("history", trial.model)
        unknown = done.code == 6 and trial.model not in self.looks.models  # killed before it was registered
        return done if unknown else self._fine(done)

    def _go_on_training(self, trial: Trial) -> None:
        """After some kills of a training it is brought to its end, at times by the other machine."""
        self.load.kills_left -= 1
        if self.load.kills_left > 0:
            return
        elsewhere = self.load.drawn.random() < FINISH_ELSEWHERE
        self._finish(self.machines[1 - trial.machine if elsewhere else trial.machine])

    def _finish(self, machine: Machine) -> None:
        command = self.load.adapt()
        self._note_end(self._fine(machine.run(*command)))

    def _note_end(self, done: Done) -> None:
        """A training that came to its end makes place for the next one."""
        if done.code != 0 or (seed := seed_of(done.command)) is None:
            self.load.note_seconds(done.command, done.seconds)
            return
        self.results[seed] = done.told
        self.load.note_seconds(done.command, done.seconds)
        model = str(done.told["model"])
        self.load.versions[model] = max(self.load.versions.get(model, 0), int(str(done.told["version"])))
        if model == self.load.asked:
            self.load.waiting.append(model)
        self.load.training, self.load.kills_left = seed + 1, self.load.drawn.randint(1, KILLS_PER_TRAINING)
        self.counted["trainings finished"] += 1

    def _fine(self, done: Done) -> Done:
        if done.code != 0 or any(words in done.err for words in NOT_OURS):
            self._require_none([f"{' '.join(done.command)}: exit code {done.code}"], [done])
        return done

    def _look(self, model: str, done: Done, running: tuple[int, ...]) -> None:
        self._require_none(invariants.after_a_kill(self.looks, model, self._fine(done).err, running), [done])

    def _require_none(self, faults: list[str], ended: list[Done]) -> None:
        if not faults:
            return
        for done in ended:
            print(
                f"--- {' '.join(done.command)}: {done.code} after {done.seconds} s\n{done.out}\n{done.err}", flush=True
            )
        raise Violated("\n".join(faults))


def load_of(seed: int) -> Load:
    """The load of a hunt of this seed."""
    return Load(random.Random(seed))
