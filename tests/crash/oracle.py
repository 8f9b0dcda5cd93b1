"""What was promised, and whether it was kept: the driver tells the oracle all it does and sees.

A *message* is what a publisher wants delivered, under one id. Each PUB of it makes a *record* of its own
(the body carries the number of the PUB), so that a second copy that stems from a resend can be told from a
second delivery of the same record. Only what has no OK is sent again. On a route with `dedupe` a message has one
record at most.

Some deliveries to `left` are answered with a *staged* message for `last` (PUB with `with:`). However often they had to
be answered, exactly one of what was staged with them may come out.
"""
import collections
import threading

TARGETS = {"d": ("sink",), "f": ("left", "right"), "u": ("once",)}  # first token of the subject -> its services
STRICT = "right"       # the service whose deliveries are in strict order by their key
STAGING = "left"       # the service that stages, one in STAGE_EVERY of what it gets
STAGE_EVERY = 4
ONCE = "once"          # the service behind a route with `dedupe`
POISON_EVERY = 61  # a message that its service refuses for good until it is redriven


class Message:
    __slots__ = ("publisher", "seq", "subject", "sends", "acked", "seen", "done")

    def __init__(self, publisher, seq, subject):
        self.publisher, self.seq, self.subject = publisher, seq, subject
        self.sends = []  # numbers of its PUBs
        self.acked = False
        self.seen = {}   # target -> deliveries
        self.done = set()  # targets that answered OK

    @property
    def id(self):
        return f"{self.publisher}-{self.seq}"

    @property
    def key(self):
        return f"k{self.seq % 7}"

    @property
    def targets(self):
        return TARGETS[self.subject[0]]

    def stages(self, target):
        return target == STAGING and self.seq % STAGE_EVERY == 0 and not self.poison

    @property
    def poison(self):
        return self.seq % POISON_EVERY == POISON_EVERY - 1

    def body(self, send):
        """Its length goes from one line to more than a page of the store."""
        head = f"{self.publisher} {self.seq} {send} ".encode()
        return head + b"%06d." % self.seq * (self.seq * 37 % 61 if self.seq % 50 else 3000)


class Record:
    __slots__ = ("count", "attempt", "life", "answer", "trail")
    TRAIL = 6

    def __init__(self):
        self.count = self.attempt = 0
        self.life = -1
        self.answer = None  # what the service said to the last delivery
        self.trail = ()     # "life.instance: attempt (why)" of the last few

    def seen(self, life, instance, attempt, why):
        self.count += 1
        self.attempt, self.life = attempt, life
        self.trail = (*self.trail[1 - self.TRAIL:], f"{life}.{instance}: {attempt} ({why})")


class Oracle:
    SAID_MAX = 5  # violations of a kind that are told at length

    def __init__(self):
        self.lock = threading.RLock()
        self.messages = {}  # (publisher, seq) -> Message
        self.records = {}   # (target, publisher, send) -> Record
        self.staged = collections.defaultdict(list)  # (publisher, send) -> what was staged with it: numbers
        self.came_out = set()  # numbers of what was staged
        self.last = {}      # (life, instance or key, publisher) -> send number of the last first delivery
        self.undone = collections.defaultdict(set)  # key -> numbers of records that STRICT got and has not done
        self.sent = self.acknowledged = self.deliveries = self.open = self.sent_staged = 0
        self.duplicates = self.explained = self.after_crash = self.copies = 0
        self.violations = collections.defaultdict(list)

    def violate(self, what, text):
        with self.lock:
            self.violations[what].append(text)

    def judge_log(self, subject, entries):
        """The event log of a route: every PUB that was acknowledged or delivered stands in it, none twice."""
        check = "the log holds what was accepted, once each (S1, S3)"
        sends = collections.Counter(send for _, send in entries)
        messages = [m for m in self.messages.values() if m.subject[0] == subject]
        missing = [m.id for m in messages if m.acked and not any(send in sends for send in m.sends)]
        unlogged = [r for r in self.records if r[0] in TARGETS[subject] and r[2] not in sends]
        twice = [send for send, count in sends.items() if count > 1]
        gaps = [offset for i, (offset, _) in enumerate(entries, 1) if offset != i]
        for what, found in (("acknowledged and missing", missing), ("delivered and missing", unlogged), ("there twice", twice),
                            ("at another offset", gaps), ("nothing", [] if entries else ["at all"])):
            if found:
                self.violate(check, f"{what}: {len(found)}, such as {found[:3]}")

    # ---- what the driver tells

    def send(self, message):
        """A PUB of it is about to be sent; the number of the PUB."""
        with self.lock:
            self.sent += 1
            message.sends.append(self.sent)
            self.messages[message.publisher, message.seq] = message
            return self.sent

    def acknowledge(self, message):
        with self.lock:
            if message.acked:
                self.violate("one answer", f"{message.id} has two OKs")
            message.acked = True
            self.acknowledged += 1
            self.open += len([t for t in message.targets if t not in message.done])

    def answered(self, message, target, send, answer):
        with self.lock:
            self.records[target, message.publisher, send].answer = answer
            if answer == "OK":
                self.undone[message.key].discard(send)
            if answer == "OK" and target not in message.done:
                message.done.add(target)
                self.open -= message.acked

    def delivered(self, life, instance, target, frame):
        """A service got this PUB; (message, its PUB's number), or (None, None) where it is none of ours."""
        with self.lock:
            self.deliveries += 1
            message, send = self._whose(target, frame)
            if message is None:
                return None, None
            attempt, why = self._marks(frame)
            record = self.records.setdefault((target, message.publisher, send), Record())
            self._duplicate(message, target, record, attempt > 1 or why is not None, life, send)
            self._attempts(message, target, record, attempt, why, send)
            if not message.poison:  # a redrive puts it at the end
                self._order(message, (life, target, instance), send, record.life != life and attempt == 1)
            record.seen(life, instance, attempt, why)
            return message, send

    def _marks(self, frame):
        why = frame.headers.get("redelivered")
        self.after_crash += why == "crash"
        return int(frame.headers["attempt"]), why

    def stage(self, message, send):
        """(id, body) of what is staged with this delivery."""
        with self.lock:
            self.sent_staged += 1
            self.staged[message.publisher, send].append(self.sent_staged)
            return f"out-{self.sent_staged}", f"out {message.publisher} {send} {self.sent_staged}".encode()

    def staged_delivered(self, frame):
        """`last` got this: its mark must tell a second time from a first."""
        with self.lock:
            self.deliveries += 1
            attempt, why = self._marks(frame)
            try:
                _, publisher, send, number = frame.body.split(b" ")
                number = int(number)
                known = number in self.staged[publisher.decode(), int(send)]
            except ValueError:
                known = False
            if not known:
                self.violate("as it was sent", f"last got {frame.pairs} {frame.body[:80]!r}")
            elif number in self.came_out and attempt == 1 and why is None:
                self.violate("duplicates explained (S7)", f"last got out-{number} again; not marked")
            self.came_out.add(number)

    def _whose(self, target, frame):
        fields = bytes(frame.body[:80]).split(b" ", 3)
        try:
            publisher, seq, send = fields[0].decode(), int(fields[1]), int(fields[2])
            message = self.messages[publisher, seq]
            same = (message.body(send), message.id, message.key, message.subject) == (
                frame.body, frame.headers.get("id"), frame.headers.get("key"), frame.subject)
        except (KeyError, IndexError, ValueError):
            same = False
        if not same or send not in message.sends or target not in message.targets:
            self.violate("as it was sent", f"{target} got {frame.subject} {frame.pairs} {frame.body[:80]!r}")
            return None, None
        return message, send

    def _duplicate(self, message, target, record, marked, life, send):
        before = message.seen.get(target, 0)
        message.seen[target] = before + 1
        if before == 0:
            return
        if target == ONCE and record.count == 0:
            self.violate("one copy where there is dedupe", f"{message.id}: PUB {send} of {message.sends}")
        self.duplicates += 1
        if marked or record.count == 0:  # an other record of it: the first one was not acknowledged
            self.explained += 1
        else:
            self.violate("duplicates explained (S7)", f"{target} got {message.id} (PUB {send}) {before + 1} times, "
                         f"in life {record.life} (answer: {record.answer}) and {life}; not marked; before: {record.trail}")

    def _attempts(self, message, target, record, attempt, why, send):
        if record.attempt > attempt and not message.poison:  # a redrive begins anew
            self.violate("attempts never decrease (S6)", f"{target} got {message.id} (PUB {send}) as attempt "
                         f"{record.attempt} ({record.answer}), then as {attempt} ({why}); before: {record.trail}")

    def _order(self, message, where, send, first):
        life, target, instance = where
        if target == STRICT:
            self._strict(message, send)
        where = (life, message.key if target == STRICT else instance, message.publisher)
        last = self.last.get(where, 0)
        if first and send < last:
            self.violate("in order within a life (S8)", f"{message.id}: PUB {send} came after {last} {where}")
        if first:
            self.last[where] = max(send, last)

    def _strict(self, message, send):
        """Whatever becomes of a record, the next one of its key comes when it is done."""
        undone = self.undone[message.key]
        if undone and min(undone) < send:
            self.violate("strict order by key (S8)", f"{message.id}: PUB {send} came while {sorted(undone)[:4]} of "
                         f"{message.key} were not done")
        undone.add(send)

    def forget_life(self, life):
        with self.lock:
            self.last = {k: v for k, v in self.last.items() if k[0] > life}

    # ---- the end

    def judge(self, dead_rows):
        """After the last drain. dead_rows: what dlq.ls lists. Returns the number of lost deliveries."""
        dead = collections.Counter((row["destination"], row["id"]) for row in dead_rows)
        lost = 0
        for message in self.messages.values():
            if ONCE in message.targets and message.acked:  # of what has an OK the last PUB was answered with it
                self.copies += (ONCE, message.publisher, message.sends[-1]) not in self.records
            for target in message.targets:
                buried = dead.pop((target, message.id), 0)
                if buried and not message.poison or buried > len(message.sends):
                    self.violate("dead letters (S11)", f"{buried} of {message.id} for {target}, "
                                 f"sent {len(message.sends)} times")
                if message.acked and target not in message.done and not buried:
                    lost += 1
                    self.violate("nothing acknowledged is lost (S1, S3)", f"{message.id} for {target}: "
                                 f"PUBs {message.sends}, seen {message.seen.get(target, 0)} times")
        if dead:
            self.violate("dead letters (S11)", f"never sent: {list(dead)[:5]}")
        for (publisher, send), numbers in self.staged.items():
            out = [n for n in numbers if n in self.came_out]
            if len(out) != 1:
                self.violate("settled and staged together", f"{publisher} PUB {send}: staged {numbers}, came out {out}")
        return lost

    def report(self, checks):
        """A line per check; (passed, failed)."""
        failed = 0
        for name in [*checks, *(n for n in self.violations if n not in checks)]:
            found = self.violations.get(name, [])
            failed += bool(found)
            if found:
                print(f"FAILED  {name}: {len(found)}")
                print("".join(f"        {text}\n" for text in found[:self.SAID_MAX]), end="")
        return len(checks) - len([c for c in checks if self.violations.get(c)]), failed
