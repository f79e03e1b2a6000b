"""Hub: everything that the runs of all pipelines must remember, behind one door."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from fenxiang_sync.hub.calls import Calls, DayCalls
from fenxiang_sync.hub.certificates import Certificate, Certificates, Look
from fenxiang_sync.hub.connect import Database
from fenxiang_sync.hub.decision import Claimant, Decision
from fenxiang_sync.hub.details import Details
from fenxiang_sync.hub.doubts import Doubts
from fenxiang_sync.hub.events import Event, Events
from fenxiang_sync.hub.gists import LetterGroup, letter_groups
from fenxiang_sync.hub.late import LateArrival, LateArrivals, LateBin
from fenxiang_sync.hub.leases import Lease, Leases
from fenxiang_sync.hub.ledger import Ledger
from fenxiang_sync.hub.letters import Letters
from fenxiang_sync.hub.lives import Life, Lives
from fenxiang_sync.hub.lookups import Lookups
from fenxiang_sync.hub.notes import Change, Notes
from fenxiang_sync.hub.orphans import Orphans
from fenxiang_sync.hub.readings import Reading, Readings
from fenxiang_sync.hub.records import Record, Records
from fenxiang_sync.hub.removals import Removals
from fenxiang_sync.hub.replies import Replies
from fenxiang_sync.hub.rivals import Rivals
from fenxiang_sync.hub.runs import RunRecord, Runs
from fenxiang_sync.hub.schema import migrate
from fenxiang_sync.hub.selection import NOT_GOT, DeadLetter, Selection, StoredLetter
from fenxiang_sync.hub.sources import Kept, Listed, Seen, Sources, unlist
from fenxiang_sync.hub.tables import Presence, Status
from fenxiang_sync.hub.told import Tellings
from fenxiang_sync.hub.writer import Settled
from fenxiang_sync.lookup import Key, Question
from fenxiang_sync.rows import IdCheck, Row
from fenxiang_sync.window import Window


class Hub:
    """The record store (轻易云 数据中台) of this installation, in SQLite or PostgreSQL.

    Any number of threads, processes and (with PostgreSQL) machines may use one hub at once. Every method raises
    `SetupError` where the database is set up wrong, and `TransientError` where it cannot be used now.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ledger = Ledger(database)
        self._runs = Runs(database)
        self._certificates = Certificates(database)
        self._late = LateArrivals(database)
        self._calls = Calls(database)
        self._leases = Leases(database)
        self._notes = Notes(database)
        self._records = Records(database)
        self._lookups = Lookups(database)
        self._sources = Sources(database)
        self._events = Events(database)
        self._lives = Lives(database)
        self._readings = Readings(database)
        self.letters = Letters(database)
        """Dead letters, beyond `bury`."""
        self.doubts = Doubts(database)
        """Rows in doubt."""
        self.removals = Removals(database)
        """Rows whose record is voided or gone."""
        self.replies = Replies(database)
        """What is to be told the source of its records."""
        self.told = Tellings(database)
        """What the target told of rows that it took."""
        self.orphans = Orphans(database)
        """Rows that their record gives no more."""
        self.rivals = Rivals(database)
        """Records that gave a row which another record gives."""
        self.details = Details(database)
        """Which detail records each record had."""

    @classmethod
    def connect(cls, url: str) -> Self:
        """Open the hub at a SQLAlchemy URL; it creates and migrates itself."""
        database = Database(url)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self._database.name}>"

    # What is sent

    def claim(
        self,
        pipeline: str,
        rows: Sequence[Row],
        *,
        run: str,
        id_check: IdCheck,
        lease_s: float,
        now: datetime,
        segment: str = "",
        upserts: bool = False,
    ) -> list[Decision]:
        """Decide each row, aligned with `rows`; NEW and CHANGED ones are this claimant's for `lease_s` seconds.

        The claimant is `run` and `segment`: two segments of a run may meet one record in two versions. A retry gets
        its own claims back. `upserts` says that the target may be sent a row twice (or that the caller looks each
        row up there before it sends): then rows in doubt are claimed too, else they are `Decision.IN_DOUBT`.
        """
        claimant = Claimant(run=run, segment=segment, id_check=id_check, upserts=upserts)
        return self._ledger.claim(pipeline, rows, claimant, lease_s, now)

    def preview(
        self,
        pipeline: str,
        rows: Sequence[Row],
        *,
        id_check: IdCheck,
        upserts: bool = False,
        now: datetime | None = None,
    ) -> list[Decision]:
        """What `claim` would say to a new run, with nothing written (空跑)."""
        claimant = Claimant(run="", id_check=id_check, upserts=upserts)
        return self._ledger.preview(pipeline, rows, claimant, now or datetime.now(UTC))

    def sending(
        self,
        pipeline: str,
        rows: Sequence[Row],
        *,
        run: str,
        lease_s: float,
        now: datetime,
        upserts: bool,
        segment: str = "",
    ) -> list[bool]:
        """Renew claims right before their rows are sent; False, aligned, where the claim is lost: do not send that.

        With ``upserts=False`` the rows are marked in flight, with their content: without a settlement they are in
        doubt from then on.
        """
        claimant = Claimant(run=run, segment=segment, upserts=upserts)
        return self._ledger.sending(pipeline, rows, claimant, lease_s, now)

    def settle(self, pipeline: str, settled: Sequence[Settled], *, run: str, now: datetime, segment: str = "") -> int:
        """Store what became of claimed rows, and close the letters of delivered ones.

        Returns how many rows were no longer this claimant's; those are left as they are. Settling twice is fine.
        """
        return self._ledger.settle(pipeline, settled, Claimant(run=run, segment=segment), now)

    def again(
        self,
        pipeline: str,
        rows: Sequence[tuple[Row, str, int | str | None]],
        *,
        run: str,
        now: datetime,
        segment: str = "",
    ) -> None:
        """Note that claimed rows were sent and not taken, each with the target's reason and code. They stay claimed."""
        self._ledger.again(pipeline, rows, Claimant(run=run, segment=segment), now)

    def delivered(self, pipeline: str, rows: Sequence[Row], *, run: str) -> list[tuple[Row, int]]:
        """The rows that this run delivered and nobody has since, each with when it was claimed (epoch ms)."""
        return self._ledger.delivered(pipeline, rows, run)

    def forget(self, pipeline: str, rows: Sequence[Row], *, run: str, now: datetime) -> list[Row]:
        """Take back that this run delivered these rows: the next claim sends them. Those that were taken back."""
        return self._ledger.forget(pipeline, rows, run, now)

    # What is held

    def records(
        self,
        pipeline: str,
        *,
        ids: Sequence[str] | None = None,
        source_id: str | None = None,
        number: str | None = None,
        status: Status | None = None,
        window: Window | None = None,
        content: bool = True,
    ) -> Iterator[Record]:
        """Records in the order of ids, or of delivered stamps where `window` asks for those in it."""
        return self._records.find(
            pipeline, ids=ids, source_id=source_id, number=number, status=status, window=window, content=content
        )

    def rows_of(self, pipeline: str, source_ids: Sequence[str]) -> dict[str, set[str]]:
        """The ids of the rows that the target holds of each of these records."""
        return self._records.rows_of(pipeline, source_ids)

    def count_unfinished(self, pipeline: str, status: Status) -> int:
        """How many records stand in a status other than FINISHED; cheap however many records there are."""
        return self._records.count_unfinished(pipeline, status)

    def held(self, pipeline: str, window: Window | None = None) -> Iterator[Row]:
        """The rows that the target holds as the ledger has it, each as it was delivered; none in doubt."""
        return self._records.held(pipeline, window)

    def count_held(self, pipeline: str) -> int:
        """How many rows the target should hold at the least."""
        return self._records.count_held(pipeline)

    def counts(self, pipeline: str) -> dict[Status, int]:
        """How many records stand where; statuses that no record has are left out."""
        return self._records.counts(pipeline)

    def look_up(self, question: Question, keys: Iterable[Key]) -> Mapping[Key, Any]:
        """What the rows that a target holds have for these keys (联查): see `fenxiang_sync.lookup.Answers`."""
        return self._lookups.find(question, keys)

    # What the source has

    def see(
        self, pipeline: str, seen: Sequence[Seen], *, run: str, now: datetime, projection: str | None = None
    ) -> dict[str, int]:
        """Note records of the source that were read and have an outcome, whatever it is; those that were noted in a
        newer version before, each with its stamp (epoch ms). `projection` names the fields that were asked for
        (`name_fields`), where the records themselves are to be kept."""
        return self._sources.see(pipeline, seen, run, now, projection)

    def newer(self, pipeline: str, stamps: Mapping[str, int]) -> dict[str, int]:
        """Of records (id and stamp) those that were noted in a newer version, each with its stamp (epoch ms)."""
        return self._sources.newer(pipeline, stamps)

    def kept(self, pipeline: str, ids: Sequence[str]) -> dict[str, Kept]:
        """What is held of these records of the source, with the records as they were read last."""
        return self._sources.kept(pipeline, ids)

    def kept_between(self, pipeline: str, after: str, upto: str, size: int = 1_000) -> Iterator[list[Kept]]:
        """The same for all with ids in ``(after, upto]``, in their order, `size` at a time."""
        return self._sources.kept_between(pipeline, after, upto, size)

    def cut(self, pipeline: str, size: int) -> Iterator[tuple[str, str, int]]:
        """The records of the source in slices: the id before each, its last one, and how many it holds."""
        return self._sources.cut(pipeline, size)

    def mark(self, pipeline: str, ids: Mapping[str, int], presence: Presence, *, run: str, now: datetime) -> int:
        """Note why queries do not list these records any more, each in the version (epoch ms) that is meant."""
        return self._sources.mark(pipeline, ids, presence, run, now)

    def look_again(self, pipeline: str, ids: Mapping[str, int], *, run: str, now: datetime) -> int:
        """Note of records that only this version (epoch ms) has an outcome: a reconcile then reads a newer one anew.
        Returns of how many a newer one was noted."""
        return self._sources.look_again(pipeline, ids, run, now)

    def get_again(self, pipeline: str, *, run: str, now: datetime) -> int:
        """Let the records be found missing that could not be got (`NOT_GOT`), so that they are read again; how many
        there are."""
        letters = self.letters.find(pipeline, Selection(error=NOT_GOT))
        return unlist(self._database, pipeline, {str(each.record_id) for each in letters}, run, now)

    def listed(self, pipeline: str) -> Listed:
        """The records of the source that queries list, by what was read."""
        return Listed(self._database, pipeline)

    # What was read

    def note_readings(self, pipeline: str, run: str, segment: int, readings: Sequence[Reading]) -> None:
        """Store the files of records of one segment; what was stored of it before is replaced."""
        self._readings.note(pipeline, run, segment, readings)

    def forget_readings(self, pipeline: str, run: str) -> None:
        """The run begins anew: what it had read is gone."""
        self._readings.forget(pipeline, run)

    def readings(self, pipeline: str, *, run: str | None = None) -> list[Reading]:
        """The files of records that are known, oldest first; those of one run in the order of its segments."""
        return self._readings.of(pipeline, run=run)

    def name_fields(self, fields: Sequence[str]) -> str:
        """The digest by which `named_fields` knows these fields."""
        return self._readings.name(fields)

    def named_fields(self) -> dict[str, frozenset[str]]:
        """All sets of fields that were ever asked for, by their digests."""
        return self._readings.fields()

    # One record's whole life

    def trace(self, pipeline: str, source_id: str) -> Life | None:
        """All that is known of one record of the source: what was read, each attempt, letters, rows; None for an id
        that was never met. In SQL it is the view ``fenxiang_trace``."""
        return self._lives.of(pipeline, source_id)

    def named(self, pipeline: str, name: str) -> list[str]:
        """The ids of the records of the source that `name` may mean: such an id, a row's key, or a number."""
        return self._lives.named(pipeline, name)

    def tell(self, pipeline: str, events: Sequence[Event]) -> None:
        """Note what happened where nothing else is written."""
        self._events.tell(pipeline, events)

    def forget_old(self, pipeline: str, *, events: datetime, readings: datetime) -> int:
        """Remove events (of all pipelines) and readings (of this one) that are older; how many."""
        return self._events.sweep(events) + self._readings.sweep(pipeline, readings)

    # Dead letters

    def bury(self, letters: Sequence[DeadLetter], now: datetime) -> None:
        """Park records for people. A letter that is open already gets one more attempt."""
        self.letters.bury(letters, now)

    def dead_letters(
        self,
        pipeline: str,
        *,
        run: str | None = None,
        stage: str | None = None,
        error: str | None = None,
        record_id: str | None = None,
        open_only: bool = True,
    ) -> Iterator[StoredLetter]:
        """Letters, oldest first; `run` is the one that met them last."""
        records = None if record_id is None else (record_id,)
        wanted = Selection(run=run, stage=stage, error=error, records=records, closed=not open_only)
        return self.letters.find(pipeline, wanted, whole=True)

    def letter_groups(self, pipeline: str) -> list[LetterGroup]:
        """The open letters by what they have in common, the most first."""
        return letter_groups(self._database, pipeline)

    # Runs and proofs

    def record_run(self, run: RunRecord) -> None:
        """Store a run as it is now."""
        self._runs.record(run)

    def runs(self, pipeline: str, limit: int = 50) -> list[RunRecord]:
        """The newest runs first."""
        return self._runs.latest(pipeline, limit)

    def last_run(self, pipeline: str, kinds: Sequence[str]) -> RunRecord | None:
        """The newest run of these kinds that succeeded."""
        return self._runs.last(pipeline, kinds)

    def first_run(self, pipeline: str, kinds: Sequence[str]) -> RunRecord | None:
        """The oldest run of these kinds, however it ended."""
        return self._runs.first(pipeline, kinds)

    def certify(self, certificate: Certificate, *, now: datetime) -> None:
        """Store the proof of one window; the same run's proof of the same window is replaced."""
        self._certificates.certify(certificate, now)

    def certificates(self, pipeline: str) -> Iterator[Certificate]:
        """In the order in which they were made."""
        return self._certificates.all(pipeline)

    def certified(self, pipeline: str) -> list[Window]:
        """The certified time as few windows in order."""
        return self._certificates.certified(pipeline)

    def looks(self, pipeline: str, window: Window, *, config_hash: str, besides: str) -> list[Look]:
        """The certified windows that overlap `window`, with how far their runs looked back; of this declaration, and
        not of the run `besides`."""
        return self._certificates.looks(pipeline, window, config_hash, besides)

    # What came late, and what was spent

    def unseen(self, pipeline: str, rows: Sequence[Row]) -> list[Row]:
        """The rows whose stamp is newer than all that the ledger has met of their id, delivered or refused."""
        return self._late.unseen(pipeline, rows)

    def note_late(
        self, pipeline: str, arrivals: Sequence[LateArrival], *, found_by: str, run: str, now: datetime
    ) -> None:
        """Count late arrivals. `found_by`: run, lookback, verify, reconcile."""
        self._late.note(pipeline, arrivals, found_by, run, now)

    def late(self, pipeline: str) -> list[LateBin]:
        """The late arrivals as a histogram, the smallest lookback first."""
        return self._late.bins(pipeline)

    def forget_late(self, pipeline: str) -> int:
        """Count late arrivals from zero again; how many there were."""
        return self._late.forget(pipeline)

    def add_calls(self, made: DayCalls, *, now: datetime) -> int:
        """Add calls to a day; returns what all connections of that app have made on it."""
        return self._calls.add(made, now)

    def calls(self, since: str) -> list[DayCalls]:
        """The calls from a day (YYYY-MM-DD) on, the newest day first."""
        return self._calls.since(since)

    # One holder at a time

    def lease(self, name: str, *, ttl_s: float, wait_s: float) -> AbstractContextManager[Lease]:
        """Hold `name` alone, across processes and machines; a dead holder is succeeded after its `ttl_s`.

        The body must not take longer than that from one `keep` of its lease to the next. Raises `TransientError` when
        `wait_s` is over.
        """
        return self._leases.hold(name, ttl_s=ttl_s, wait_s=wait_s)

    # What processes tell each other

    def revise(self, name: str, change: Change) -> None:
        """Change a small shared document: `change` gets what it says (None: nothing yet) and the database's clock in
        epoch seconds, is called once with nobody in between, and returns what it shall say."""
        self._notes.revise(name, change)

    def noted(self, name: str) -> dict[str, Any] | None:
        """What a shared document says; None where it is not there."""
        return self._notes.read(name)

    def all_noted(self, prefix: str) -> dict[str, dict[str, Any]]:
        """What the shared documents say whose names begin so, by name."""
        return self._notes.all(prefix)
