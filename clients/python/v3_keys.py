"""KV, Watch and Lease through etcd3, the client library of OpenStack and others."""

import queue
import time

import etcd3
import grpc

from harness import PATIENCE, ask, eventually, fails, members, run


def client(number=0):
    """A client of one member; the library does not go on to another by itself."""
    host, port = members()[number]
    # Else gRPC remembers over all clients that a member was down, and waits before it tries again.
    alone = [("grpc.use_local_subchannel_pool", 1)]
    return etcd3.client(host=host, port=port, timeout=PATIENCE, grpc_options=alone)


def code_of(call, *arguments, **named):
    """The gRPC code and text of a refusal that the library passes on as it is."""
    try:
        result = call(*arguments, **named)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("expected a refusal, got %r" % (result,))


def values(found):
    return [value for value, _ in found]


def events_of(watch, count):
    """The next events of an iterator."""
    return [next(watch) for _ in range(count)]


def shown(event):
    return type(event).__name__, event.key, event.value


def pairs_are_written_and_read():
    one = client()
    first = one.put("/kv/a", "1")
    value, about = client(1).get("/kv/a")
    assert value == b"1" and about.key == b"/kv/a" and about.version == 1
    assert about.create_revision == about.mod_revision == first.header.revision
    assert one.put("/kv/a", "2", prev_kv=True).prev_kv.value == b"1"
    assert one.get("/kv/absent") == (None, None)
    for key, value in [("/kv/b", "9"), ("/kv/c", "5"), ("/kv/d", "7")]:
        one.put(key, value)
    assert values(one.get_prefix("/kv/")) == [b"2", b"9", b"5", b"7"]
    assert values(one.get_range("/kv/b", "/kv/d")) == [b"9", b"5"]
    by_value = one.get_prefix("/kv/", sort_order="descend", sort_target="value")
    assert values(by_value) == [b"9", b"7", b"5", b"2"]
    assert set(values(one.get_prefix("/kv/", keys_only=True))) == {b""}
    assert len(list(one.get_all())) == 4
    removed = one.delete("/kv/d", prev_kv=True, return_response=True)
    assert removed.deleted == 1 and removed.prev_kvs[0].value == b"7"
    assert not one.delete("/kv/d")
    assert one.delete_prefix("/kv/").deleted == 3
    assert code_of(one.put, "", "x") == (
        grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: key is not provided")


def transactions_choose():
    one = client()
    assert one.put_if_not_exists("/txn/a", "1") and not one.put_if_not_exists("/txn/a", "2")
    assert one.replace("/txn/a", "1", "3") and not one.replace("/txn/a", "1", "4")
    of = one.transactions
    succeeded, answers = one.transaction(
        compare=[of.value("/txn/a") == "3", of.version("/txn/a") > 1, of.version("/txn/b") == 0],
        success=[of.put("/txn/b", "x"), of.get("/txn/a"), of.delete("/txn/a")],
        failure=[of.put("/txn/never", "x")])
    assert succeeded and len(answers) == 3 and answers[1][0][0] == b"3"
    nested = of.txn(compare=[of.version("/txn/b") == 0], success=[of.put("/txn/c", "then")],
                    failure=[of.put("/txn/c", "else")])
    succeeded, _ = one.transaction(compare=[of.mod("/txn/b") < 1], success=[], failure=[nested])
    assert not succeeded and one.get("/txn/c")[0] == b"else"
    twice = dict(compare=[], success=[of.put("/txn/d", "1"), of.put("/txn/d", "2")], failure=[])
    assert code_of(one.transaction, **twice) == (
        grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")


def watches_see_each_change():
    one = client()
    live, cancel = one.watch_prefix("/watch/", prev_kv=True)
    first = client(1).put("/watch/a", "1").header.revision
    client(2).put("/watch/b", "2")
    one.delete("/watch/a")
    expected = [("PutEvent", b"/watch/a", b"1"), ("PutEvent", b"/watch/b", b"2"),
                ("DeleteEvent", b"/watch/a", b"")]
    seen = events_of(live, 3)
    assert [shown(event) for event in seen] == expected
    assert seen[2].prev_value == b"1"
    cancel()
    past, cancel = client(2).watch_prefix("/watch/", start_revision=first)
    assert [shown(event) for event in events_of(past, 3)] == expected
    cancel()
    fails(etcd3.exceptions.WatchTimedOut, one.watch_once, "/watch/silent", timeout=0.3)
    calls = queue.Queue()
    watch_id = one.add_watch_callback("/watch/c", calls.put)
    one.put("/watch/c", "3")
    assert calls.get(timeout=PATIENCE).events[0].value == b"3"
    one.cancel_watch(watch_id)


def compaction_takes_the_past():
    one = client()
    first = one.put("/compact", "1").header.revision
    last = one.put("/compact", "2").header.revision
    one.compact(last, physical=True)
    assert code_of(one.compact, last) == (
        grpc.StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
    watch, _ = one.watch("/compact", start_revision=first)
    error = fails(etcd3.exceptions.RevisionCompactedError, next, watch)
    assert error.compacted_revision == last


def leases_end_with_their_keys():
    one = client()
    kept, short = one.lease(100), one.lease(2)
    assert (kept.granted_ttl, short.ttl) == (100, 2)
    one.put("/lease/kept", "1", lease=kept)
    began = time.monotonic()
    for name in ("a", "b"):
        one.put("/lease/" + name, "1", lease=short)
    assert sorted(short.keys) == [b"/lease/a", b"/lease/b"]
    watch, cancel = client(1).watch_prefix("/lease/")
    for _ in range(5):
        # Through each member, of which two have to ask the leader.
        for number in range(3):
            assert [answer.TTL for answer in client(number).refresh_lease(short.id)] == [2]
        time.sleep(0.5)
    assert one.get("/lease/a")[0] == b"1" and time.monotonic() - began > 2
    gone = [shown(event) for event in events_of(watch, 2)]
    assert gone == [("DeleteEvent", b"/lease/a", b""), ("DeleteEvent", b"/lease/b", b"")]
    assert short.remaining_ttl == -1 and list(one.refresh_lease(short.id))[0].TTL == 0
    kept.revoke()
    assert shown(next(watch)) == ("DeleteEvent", b"/lease/kept", b"")
    cancel()
    assert code_of(kept.revoke) == (
        grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found")


def locks_exclude():
    first, second = client(0), client(1)
    lock, other = first.lock("guard", ttl=60), second.lock("guard", ttl=60)
    assert lock.acquire(timeout=PATIENCE) and lock.is_acquired()
    assert not other.acquire(timeout=0)
    assert lock.refresh()[0].TTL == 60
    assert lock.release() and not lock.is_acquired()
    assert other.acquire(timeout=PATIENCE)
    other.release()
    # Who does not come back loses the lock with its lease.
    assert first.lock("lost", ttl=2).acquire(timeout=PATIENCE)
    late = second.lock("lost", ttl=60)
    assert late.acquire(timeout=PATIENCE) and late.release()


def a_watch_is_resumed_on_another_member():
    """Ends the member that serves a watch, and the leader; the watch goes on elsewhere behind what
    it has seen, and sees each write once."""
    writer, seen = client(1), []
    start = writer.put("/resume/first", "x").header.revision + 1
    watcher, number = 0, 0

    def write(value):
        def try_it():
            try:
                # After an error the outcome is open: a value that has arrived is not written again.
                if writer.get("/resume/key")[0] != value.encode():
                    writer.put("/resume/key", value)
                return True
            except (etcd3.exceptions.Etcd3Exception, grpc.RpcError):
                return None

        eventually("a write after the end of a member", try_it)

    while number < 60:
        one = client(watcher)
        events, _ = one.watch("/resume/key", start_revision=start)
        for _ in range(20):
            write(str(number))
            event = next(events)
            assert event.value == str(number).encode(), (event.value, number)
            seen.append(event.mod_revision)
            start, number = event.mod_revision + 1, number + 1
        ask("kill %d" % watcher)
        fails(etcd3.exceptions.ConnectionFailedError, lambda: next(events))
        # Its thread would go on trying, without a pause.
        one.close()
        write(str(number))
        ask("start %d" % watcher)
        # The next round is served by another member; the writer's own is never ended.
        watcher = 2 - watcher
    assert seen == sorted(set(seen)) and len(seen) == 60


run([
    pairs_are_written_and_read,
    transactions_choose,
    watches_see_each_change,
    compaction_takes_the_past,
    leases_end_with_their_keys,
    locks_exclude,
    a_watch_is_resumed_on_another_member,
])
