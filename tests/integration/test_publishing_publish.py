"""Publishing: only with a passing verdict on exactly these bytes, atomically, and with history."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publishing_fixtures import AS_OF, POLICY, SUITES, Home, Rated, failure, gate, passing_gates

from touchstone.core.errors import GateRefusedError, VerificationError
from touchstone.core.files import sha256_bytes, sha256_file
from touchstone.publishing.candidate import Candidate
from touchstone.publishing.publish import Published, publish
from touchstone.publishing.read import read_list, versions
from touchstone.publishing.verdict import GATES, give_verdict
from touchstone.publishing.verify import verify

YESTERDAY, TOMORROW = AS_OF - dt.timedelta(days=1), AS_OF + dt.timedelta(days=1)


def tree(folder: Path) -> dict[str, bytes]:
    """Returns every file below a folder with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def latest(home: Home) -> str:
    return (home.published / home.list_name / "LATEST").read_text()


# --- What is published -------------------------------------------------------------------------------------------------


def test_a_passing_candidate_becomes_the_list_in_force(tmp_path: Path):
    home = Home(tmp_path)
    candidate = home.judge(home.build())
    done = home.publish(candidate)
    assert (done.outcome, done.version) == ("published", f"2026-06-30-{candidate.sha256[:12]}")
    assert sorted(path.name for path in done.directory.iterdir()) == [
        "listings.csv", "listings.parquet", "manifest.json", "receipt.json",
    ]  # fmt: skip
    assert latest(home) == done.latest + "\n" == done.version + "\n"
    receipt = json.loads((done.directory / "receipt.json").read_bytes())
    assert receipt == {
        "version": done.version,
        "manifest_sha256": candidate.sha256,
        "verdict_sha256": sha256_file(candidate.directory / "verdict.json"),
        "run": {"run_id": "run1"},
    }
    (line,) = versions(home.published, "listings")
    assert line.manifest_sha256 == sha256_file(done.directory / "manifest.json") == candidate.sha256
    assert (line.receipt, line.receipt_sha256) == ("receipt.json", sha256_file(done.directory / "receipt.json"))


def test_republishing_the_list_in_force_changes_nothing(tmp_path: Path):
    home = Home(tmp_path)
    home.release()
    before = tree(home.published)
    assert home.release().outcome == "unchanged"
    assert tree(home.published) == before


def test_a_rollback_publishes_the_same_bytes_again_with_another_receipt(tmp_path: Path):
    home = Home(tmp_path)
    first = home.release(code_revision="r1")
    second = home.release(code_revision="r2")
    before = tree(first.directory)
    again = home.publish(home.judge(home.build(code_revision="r1")), run_id="run3")
    assert (again.outcome, again.version, again.latest) == ("published_again", first.version, first.version)
    after = tree(first.directory)
    assert {name: after[name] for name in before} == before
    assert json.loads(after["receipt-2.json"])["run"] == {"run_id": "run3"}
    assert [line.version for line in versions(home.published, "listings")] == [
        first.version,
        second.version,
        first.version,
    ]
    home.release(code_revision="r2")
    home.release(code_revision="r1")
    assert sorted(name for name in tree(first.directory) if "receipt" in name) == [
        "receipt-2.json", "receipt-3.json", "receipt.json",
    ]  # fmt: skip
    assert verify(home.published) == []


def test_a_backfill_does_not_change_latest(tmp_path: Path):
    home = Home(tmp_path)
    today = home.release()
    earlier = home.release([Rated("e2", 93.0)], as_of=YESTERDAY)
    assert (earlier.outcome, earlier.latest) == ("published", today.version)
    assert latest(home) == today.version + "\n"
    rebuilt = home.release()
    assert rebuilt.version != today.version, "the version before is another one now, and the manifest names it"
    assert latest(home) == rebuilt.version + "\n"
    assert verify(home.published) == []


def test_lists_are_published_independently(tmp_path: Path):
    listings, merchants = Home(tmp_path), Home(tmp_path, "merchants")
    listings.release()
    merchants.release()
    before = tree(merchants.published / "merchants")
    listings.release(code_revision="r2")
    assert tree(merchants.published / "merchants") == before
    assert read_list(merchants.published, "merchants").rows["name"].to_pylist() == ["a title"] * 3


@settings(max_examples=12)
@given(releases=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), min_size=1, max_size=8))
def test_latest_is_the_newest_publication_of_the_greatest_day(
    releases: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
):
    home = Home(tmp_path_factory.mktemp("home"))
    in_force: dict[int, str] = {}
    lines = 0
    for day, revision in releases:
        done = home.release(as_of=AS_OF + dt.timedelta(days=day), code_revision=revision)
        lines += in_force.get(day) != done.version
        assert (done.outcome == "unchanged") == (in_force.get(day) == done.version)
        in_force[day] = done.version
        assert latest(home) == in_force[max(in_force)] + "\n"
    assert len(versions(home.published, "listings")) == lines
    assert verify(home.published) == []


# --- What is refused ---------------------------------------------------------------------------------------------------


def judged_otherwise(**changes: str) -> Callable[[Home, Candidate], Candidate]:
    """Returns a step that gives a passing verdict by other suites or another policy."""

    def step(_home: Home, candidate: Candidate) -> Candidate:
        digests = {"suites_digest": SUITES, "policy_digest": POLICY.digest, **changes}
        give_verdict(candidate, passing_gates(candidate), **digests)
        return candidate

    return step


def without_gate(name: str) -> Callable[[Home, Candidate], Candidate]:
    def step(_home: Home, candidate: Candidate) -> Candidate:
        gates = [result for result in passing_gates(candidate) if result.suite != name]
        give_verdict(candidate, gates, suites_digest=SUITES, policy_digest=POLICY.digest)
        return candidate

    return step


def with_gate(name: str, **changes: object) -> Callable[[Home, Candidate], Candidate]:
    def step(_home: Home, candidate: Candidate) -> Candidate:
        gates = [
            result.model_copy(update=changes) if result.suite == name else result for result in passing_gates(candidate)
        ]
        give_verdict(candidate, gates, suites_digest=SUITES, policy_digest=POLICY.digest)
        return candidate

    return step


def no_verdict(_home: Home, candidate: Candidate) -> Candidate:
    return candidate


def verdict_of_another(home: Home, candidate: Candidate) -> Candidate:
    other = home.judge(home.build(code_revision="another"))
    shutil.copy(other.directory / "verdict.json", candidate.directory / "verdict.json")
    return candidate


def half_a_verdict(home: Home, candidate: Candidate) -> Candidate:
    path = home.judge(candidate).directory / "verdict.json"
    path.write_bytes(path.read_bytes()[:-20])
    return candidate


def changed_after(name: str) -> Callable[[Home, Candidate], Candidate]:
    def step(home: Home, candidate: Candidate) -> Candidate:
        path = home.judge(candidate).directory / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return candidate

    return step


def removed_after(name: str) -> Callable[[Home, Candidate], Candidate]:
    def step(home: Home, candidate: Candidate) -> Candidate:
        (home.judge(candidate).directory / name).unlink()
        return candidate

    return step


def list_and_manifest_changed_together(home: Home, candidate: Candidate) -> Candidate:
    home.judge(candidate)
    path = candidate.directory / "listings.csv"
    path.write_bytes(path.read_bytes() + b"smuggled")
    manifest = json.loads((candidate.directory / "manifest.json").read_bytes())
    manifest["files"]["listings.csv"] = sha256_file(path)
    (candidate.directory / "manifest.json").write_text(json.dumps(manifest, sort_keys=True, indent=2) + "\n")
    return candidate


def another_version_before(home: Home, candidate: Candidate) -> Candidate:
    home.release(as_of=YESTERDAY)
    return home.judge(candidate)


REFUSALS: dict[str, tuple[Callable[[Home, Candidate], Candidate], str]] = {
    "no verdict": (no_verdict, "has no verdict"),
    "half a verdict": (half_a_verdict, "not a valid verdict"),
    "verdict of another candidate": (verdict_of_another, "about another candidate"),
    "other suites": (judged_otherwise(suites_digest=sha256_bytes(b"others")), "suites changed after it was judged"),
    "other policy": (judged_otherwise(policy_digest=sha256_bytes(b"others")), "policy changed after it was judged"),
    **{f"gate {name} missing": (without_gate(name), f"gate {name} did not run") for name in GATES},
    **{
        f"gate {name} refused": (
            with_gate(name, success=False, failures=(failure(),)),
            rf"(?s)gate {name} refused:.*flagged_share.*observed 0\.31, allowed 0\.1",
        )
        for name in GATES
    },
    **{
        f"gate {name} of other files": (with_gate(name, subject_digest="9" * 64), f"gate {name} judged other files")
        for name in GATES
    },
    "gate of another day": (
        with_gate("landed", parameters={"as_of": YESTERDAY}),
        "gate landed judged the date 2026-06-29",
    ),
    "list changed": (changed_after("listings.parquet"), r"listings\.parquet does not match its manifest"),
    "csv changed": (changed_after("listings.csv"), r"listings\.csv does not match its manifest"),
    "manifest changed": (changed_after("manifest.json"), "candidate"),
    "csv removed": (removed_after("listings.csv"), "damaged"),
    "manifest removed": (removed_after("manifest.json"), "no candidate"),
    "list and manifest changed": (list_and_manifest_changed_together, "about another candidate"),
    "another version before": (another_version_before, "built on no version"),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_candidate_without_a_valid_passing_verdict_is_not_published(how: str, tmp_path: Path):
    step, complaint = REFUSALS[how]
    home = Home(tmp_path)
    home.release([Rated("e9", 92.0)])
    candidate = step(home, home.build())
    before = tree(home.published)
    with pytest.raises(GateRefusedError, match=complaint):
        home.publish(candidate)
    assert tree(home.published) == before


@pytest.mark.parametrize("changed", ["suites_digest", "policy_digest"])
def test_a_suite_or_policy_changed_since_the_verdict_refuses_publication(changed: str, tmp_path: Path):
    home = Home(tmp_path)
    candidate = home.judge(home.build())
    digests = {"suites_digest": SUITES, "policy_digest": POLICY.digest, changed: sha256_bytes(b"new")}
    with pytest.raises(GateRefusedError, match="changed after it was"):
        publish(candidate, home.published, receipt={}, **digests)
    assert not home.published.exists()


def test_warnings_do_not_block_publication(tmp_path: Path):
    home = Home(tmp_path)
    warned = with_gate("scores", failures=(failure("warning"),))(home, home.build())
    assert home.publish(warned).outcome == "published"


def test_a_later_refusing_verdict_replaces_a_passing_one(tmp_path: Path):
    home = Home(tmp_path)
    candidate = home.judge(home.build())
    with_gate("candidate", success=False, failures=(failure(),))(home, candidate)
    with pytest.raises(GateRefusedError):
        home.publish(candidate)


@pytest.mark.parametrize("file", ["LATEST", "history.jsonl"])
def test_nothing_is_added_to_a_damaged_list(file: str, tmp_path: Path):
    home = Home(tmp_path)
    home.release()
    path = home.published / "listings" / file
    path.write_bytes(b"x" + path.read_bytes()[1:])
    before = tree(home.published)
    with pytest.raises(VerificationError, match=file):
        home.release(code_revision="r2")
    assert tree(home.published) == before


def test_a_damaged_version_is_not_published_again(tmp_path: Path):
    home = Home(tmp_path)
    first = home.release(code_revision="r1")
    home.release(code_revision="r2")
    (first.directory / "listings.csv").write_bytes(b"damaged")
    with pytest.raises(VerificationError, match=r"listings\.csv was changed after it was published"):
        home.release(code_revision="r1")
    assert latest(home) != first.version + "\n"


def test_a_manually_added_folder_is_not_accepted_as_a_publication(tmp_path: Path):
    home = Home(tmp_path)
    home.release(code_revision="r1")
    candidate = home.judge(home.build(code_revision="r2"))
    planted = home.published / "listings" / candidate.manifest().version
    shutil.copytree(candidate.directory, planted)
    with pytest.raises(VerificationError, match="is not in the history"):
        home.publish(candidate)


# --- Crashes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Publishing:
    """An undisturbed publication: the home before it, what it published, and the list's files before and after."""

    home: Home
    candidate: Candidate
    done: Published
    before: dict[str, bytes]
    after: dict[str, bytes]

    @property
    def receipt(self) -> str:
        """Name of the receipt that it added."""
        added = [name for name in self.after.keys() - self.before.keys() if "receipt" in name]
        return added[0].rpartition("/")[2]

    def put(self, files: dict[str, bytes]) -> None:
        """Makes the list's folder contain exactly these files."""
        folder = self.home.published / "listings"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def states(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Yields the state after a kill at each failpoint, in the order of writing."""
        version, history = self.done.version, "history.jsonl"
        marker = {".publishing": json.dumps({"receipt": self.receipt, "version": version}).encode()}
        new = {name: self.after[name] for name in self.after if name.startswith(version) and name not in self.before}
        is_again = f"{version}/manifest.json" in self.before
        temporary = f"{version}/.tmp-1-{self.receipt}" if is_again else f".tmp-1-{version}/listings.parquet"
        line = self.after[history][len(self.before.get(history, b"")) :]
        yield "marker not yet renamed", {**self.before, ".tmp-1-.publishing": b"{"}
        yield "marker", {**self.before, **marker}
        yield "half a folder", {**self.before, **marker, temporary: b"PAR1 half"}
        yield "folder without line", {**self.before, **marker, **new}
        for cut in (1, len(line) // 2, len(line) - 1):
            torn = self.before.get(history, b"") + line[:cut]
            yield f"line cut at {cut}", {**self.before, **marker, **new, history: torn}
        lined = {**self.before, **marker, **new, history: self.after[history]}
        yield "line without LATEST", lined
        yield "LATEST not yet renamed", {**lined, ".tmp-1-LATEST": b"2026"}
        yield "LATEST with marker", {**self.after, **marker}


def first_publication(home: Home) -> Candidate:
    return home.judge(home.build())


def next_day(home: Home) -> Candidate:
    home.release(as_of=YESTERDAY)
    return home.judge(home.build())


def backfill(home: Home) -> Candidate:
    home.release(as_of=TOMORROW)
    return home.judge(home.build())


def rollback(home: Home) -> Candidate:
    home.release(code_revision="r1")
    home.release(code_revision="r2")
    return home.judge(home.build(code_revision="r1"))


KINDS = (first_publication, next_day, backfill, rollback)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def publishing(request: pytest.FixtureRequest, tmp_path: Path) -> Publishing:
    """A publication of each kind, with the list's files before and after."""
    home = Home(tmp_path)
    candidate = request.param(home)
    folder = home.published / "listings"
    before = tree(folder)
    done = home.publish(candidate)
    return Publishing(home, candidate, done, before, tree(folder))


def readable(published: Path) -> str | None:
    """Returns the version that a reader reads completely, or None if nothing is published."""
    return read_list(published, "listings").version if (published / "listings" / "LATEST").exists() else None


def test_after_a_kill_readers_get_a_complete_list_and_verify_finds_no_problem(publishing: Publishing):
    publishing.put(publishing.before)
    version_before = readable(publishing.home.published)
    for failpoint, files in publishing.states():
        publishing.put(files)
        assert verify(publishing.home.published) == [], failpoint
        assert readable(publishing.home.published) in {version_before, publishing.done.latest}, failpoint


def test_the_same_candidate_completes_a_killed_publication(publishing: Publishing):
    for failpoint, files in publishing.states():
        publishing.put(files)
        done = publishing.home.publish(publishing.candidate)
        assert (done.version, done.latest) == (publishing.done.version, publishing.done.latest), failpoint
        assert tree(publishing.home.published / "listings") == publishing.after, failpoint


def test_another_candidate_removes_an_uncommitted_publication(publishing: Publishing):
    other_day = AS_OF - dt.timedelta(days=30)
    for failpoint, files in publishing.states():
        publishing.put(files)
        was_published = failpoint.startswith(("line without", "LATEST"))
        other = publishing.home.release(as_of=other_day)
        assert verify(publishing.home.published) == [], failpoint
        lines = [line.version for line in versions(publishing.home.published, "listings")]
        earlier = (publishing.after if was_published else publishing.before).get("history.jsonl", b"").count(b"\n")
        assert len(lines) == earlier + 1, failpoint
        assert lines[-1] == other.version, failpoint
        assert not list((publishing.home.published / "listings").glob("**/.*")), failpoint


def test_a_refused_candidate_leaves_a_killed_publication_unchanged(publishing: Publishing):
    for failpoint, files in publishing.states():
        publishing.put(files)
        refused = with_gate("scores", success=False, failures=(failure(),))
        with pytest.raises(GateRefusedError):
            publishing.home.publish(refused(publishing.home, publishing.candidate))
        assert tree(publishing.home.published / "listings") == files, failpoint


def test_readers_polling_latest_see_only_complete_lists(tmp_path: Path):
    home = Home(tmp_path)
    home.release(code_revision="r0")
    stop, seen, faults = threading.Event(), set(), []

    def read_until_stopped() -> None:
        while not stop.is_set():
            try:
                published = read_list(home.published, "listings")
                seen.add(published.version)
                assert published.rows.num_rows == published.manifest.row_count == 3
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is a fault
                faults.append(error)

    reader = threading.Thread(target=read_until_stopped)
    reader.start()
    made = {home.release(code_revision=f"r{number % 5}").version for number in range(20)}
    stop.set()
    reader.join()
    assert faults == []
    assert len(made) == 5
    assert len(seen) > 1
    assert seen <= made


def test_a_verdict_records_its_gates_and_their_failures(tmp_path: Path):
    home = Home(tmp_path)
    candidate = home.build()
    results = [*passing_gates(candidate)[:3], gate("candidate", "0" * 64, failures=[failure()])]
    verdict = give_verdict(candidate, results, suites_digest=SUITES, policy_digest=POLICY.digest)
    assert not verdict.passed
    content = json.loads((candidate.directory / "verdict.json").read_bytes())
    assert content["candidate"] == candidate.sha256
    assert content["gates"]["candidate"]["failures"][0]["observed"] == "0.31"
    assert set(content["gates"]) == set(GATES)
