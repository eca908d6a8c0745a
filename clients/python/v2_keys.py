"""The v2 keys API through python-etcd, the client library of its time."""

import threading

import etcd

from harness import PATIENCE, ask, eventually, fails, members, run


def client(**named):
    """A client of all members that goes on to the next when one fails."""
    hosts = tuple(members())
    return etcd.Client(host=hosts, allow_reconnect=True, read_timeout=PATIENCE, **named)


def client_of(number):
    """A client of one member."""
    host, port = members()[number]
    return etcd.Client(host=host, port=port, read_timeout=PATIENCE)


def in_background(call, *arguments, **named):
    """Starts a call in a thread; the result is waited for by calling what is returned."""
    results = []

    def work():
        try:
            results.append((call(*arguments, **named), None))
        except BaseException as error:
            results.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def result():
        thread.join(PATIENCE)
        assert results, "no answer"
        value, error = results[0]
        if error is not None:
            raise error
        return value

    return result


def former(result):
    """The value before; the library has no public name for it."""
    return result._prev_node.value


def watching(one, key, recursive=None, index=None):
    """A watch from the present index on; python-etcd tells nobody when it has begun."""
    if index is None:
        index = int(one.read("/").etcd_index) + 1
    return in_background(one.watch, key, index=index, timeout=PATIENCE, recursive=recursive)


def values_are_written_and_read():
    one = client()
    written = one.write("/basic/a", "Hällo <world>")
    assert written.newKey and written.action == "set" and written.key == "/basic/a"
    read = client_of(1).read("/basic/a", quorum=True)
    assert read.value == "Hällo <world>" and not read.dir
    assert (read.createdIndex, read.modifiedIndex) == (written.createdIndex, written.modifiedIndex)
    again = one.set("/basic/a", 7)
    assert not again.newKey and former(again) == "Hällo <world>"
    assert one.get("/basic/a").value == "7"
    assert "/basic/a" in one and "/basic/b" not in one
    error = fails(etcd.EtcdKeyNotFound, one.read, "/basic/b")
    assert error.payload["errorCode"] == 100 and error.payload["cause"] == "/basic/b"
    assert former(one.delete("/basic/a")) == "7"
    fails(etcd.EtcdKeyNotFound, one.delete, "/basic/a")


def one_of_two_swaps_wins():
    one = client()
    first = one.write("/swap", "a", prevExist=False)
    fails(etcd.EtcdAlreadyExist, one.write, "/swap", "b", prevExist=False)
    fails(etcd.EtcdCompareFailed, one.test_and_set, "/swap", "b", "z")
    swapped = one.test_and_set("/swap", "b", "a")
    assert swapped.action == "compareAndSwap" and former(swapped) == "a"
    error = fails(etcd.EtcdCompareFailed, one.write, "/swap", "c", prevIndex=first.modifiedIndex)
    assert error.payload["cause"] == "[%d != %d]" % (first.modifiedIndex, swapped.modifiedIndex)
    updated = one.read("/swap")
    updated.value = "c"
    assert one.update(updated).value == "c"
    fails(etcd.EtcdCompareFailed, one.update, updated)
    fails(etcd.EtcdKeyNotFound, one.write, "/swap-absent", "x", prevExist=True)
    fails(etcd.EtcdCompareFailed, one.delete, "/swap", prevValue="b")
    fails(etcd.EtcdCompareFailed, one.delete, "/swap", prevIndex=swapped.modifiedIndex)
    assert one.delete("/swap", prevValue="c").action == "compareAndDelete"


def keys_live_for_their_time():
    one = client()
    assert one.write("/ttl/long", "x", ttl=100).ttl == 100
    short = one.write("/ttl/short", "x", ttl=1)
    assert short.ttl == 1 and short.expiration is not None
    expired = watching(one, "/ttl/short", index=short.modifiedIndex + 1)()
    assert expired.action == "expire" and former(expired) == "x"
    fails(etcd.EtcdKeyNotFound, one.read, "/ttl/short")
    # A write without a time makes it permanent.
    one.write("/ttl/long", "y")
    assert one.read("/ttl/long").ttl is None
    one.write("/ttl/dir", None, dir=True, ttl=1)
    one.write("/ttl/dir/below", "x")
    eventually("the end of the directory", lambda: None if "/ttl/dir" in client_of(2) else True)


def refresh_is_not_seen():
    one = client()
    first = one.write("/refresh", "x", ttl=30)
    seen = watching(one, "/refresh", index=first.modifiedIndex + 1)
    refreshed = one.refresh("/refresh", ttl=100)
    assert (refreshed.value, refreshed.ttl) == ("x", 100)
    one.write("/refresh", "y")
    assert seen().value == "y"
    fails(etcd.EtcdKeyNotFound, one.refresh, "/refresh-absent", ttl=10)


def directories_hold_keys_in_order():
    one = client()
    fails(etcd.EtcdNotFile, lambda: [one.write("/dirs", None, dir=True) for _ in range(2)])
    keys = [one.write("/dirs/queue", str(number), append=True).key for number in range(5)]
    assert keys == sorted(keys) and all(len(key) == len("/dirs/queue/") + 20 for key in keys)
    listed = one.read("/dirs/queue", sorted=True)
    assert [child.value for child in listed.children] == ["0", "1", "2", "3", "4"]
    one.write("/dirs/tree/a/b", "leaf")
    one.write("/dirs/tree/_hidden", "x")
    leaves = one.read("/dirs/tree", recursive=True, sorted=True).leaves
    assert [leaf.key for leaf in leaves] == ["/dirs/tree/a/b"]
    fails(etcd.EtcdNotDir, one.write, "/dirs/tree/a/b/c", "x")
    fails(etcd.EtcdNotFile, one.write, "/dirs/tree", "x")
    fails(etcd.EtcdNotFile, one.delete, "/dirs/tree")
    fails(etcd.EtcdDirNotEmpty, one.delete, "/dirs/tree", dir=True)
    fails(etcd.EtcdRootReadOnly, one.write, "/", "x")
    assert one.delete("/dirs", recursive=True).dir
    fails(etcd.EtcdKeyNotFound, one.read, "/dirs/queue")


def watches_see_what_they_are_told_to():
    one = client()
    plain, tree = watching(one, "/watch/a"), watching(one, "/watch", recursive=True)
    client_of(1).write("/watch/other", "1")
    client_of(2).write("/watch/a", "2")
    assert (tree().key, plain().value) == ("/watch/other", "2")
    fails(etcd.EtcdWatchTimedOut, one.watch, "/watch/silent", timeout=0.3)
    index = one.write("/watch/a", "3").modifiedIndex
    one.delete("/watch/a")
    assert one.watch("/watch/a", index=index).value == "3"
    assert one.watch("/watch/a", index=index + 1).action == "delete"


def history_is_limited():
    one = client()
    first = one.write("/history", "0")
    for number in range(1050):
        last = one.write("/history", str(number))
    error = fails(etcd.EtcdEventIndexCleared, one.watch, "/history", index=first.modifiedIndex)
    assert error.payload["errorCode"] == 401
    assert one.watch("/history", index=last.modifiedIndex - 900).value == "149"


def locks_exclude():
    first, second = client(), client()
    lock, other = etcd.Lock(first, "guard"), etcd.Lock(second, "guard")
    assert lock.acquire(blocking=True, lock_ttl=60) and lock.is_acquired
    assert not other.acquire(blocking=False, lock_ttl=60)
    waiting = in_background(other.acquire, blocking=True, lock_ttl=60, timeout=PATIENCE)
    lock.release()
    assert waiting() and other.is_acquired and not lock.is_acquired
    other.release()
    # Who does not come back loses the lock with its time.
    assert etcd.Lock(first, "lost").acquire(lock_ttl=1)
    late = etcd.Lock(second, "lost")
    assert in_background(late.acquire, blocking=True, lock_ttl=60, timeout=PATIENCE)()
    late.release()


def the_cluster_is_known():
    one = client()
    assert len(one.machines) == 3 and len(one.members) == 3
    assert one.version.startswith("3.") and one.cluster_version == "3.4.0"


def writes_survive_the_member_that_took_them():
    """Ends the leader and then the member that the client speaks to, while it writes; what was
    acknowledged is found again, and an eternal watch sees each write once and in order."""
    one, count = client(), 120
    index = one.write("/trouble/first", "x").modifiedIndex
    seen = []

    def watch():
        for event in client().eternal_watch("/trouble/key", index=index + 1):
            seen.append((event.modifiedIndex, event.value))
            if event.value == str(count - 1):
                return

    watcher = in_background(watch)
    acknowledged = []
    for number in range(count):
        if number == count // 3:
            down = ask("kill leader")
        if number == 2 * count // 3:
            ask("start %d" % down)
            address = one.base_uri.split("//")[1]
            spoken_to = ["%s:%d" % member for member in members()].index(address)
            ask("kill %d" % spoken_to)
        value = str(number)
        # After an error the outcome is open: a value that has arrived is not written again.
        try:
            acknowledged.append((one.write("/trouble/key", value).modifiedIndex, value))
            continue
        except etcd.EtcdException:
            pass

        def try_again():
            try:
                if one.read("/trouble/key", quorum=True).value != value:
                    one.write("/trouble/key", value)
                return True
            except etcd.EtcdException:
                return None

        eventually("a write after the end of a member", try_again)
    watcher()
    assert set(acknowledged) <= set(seen), "acknowledged and never seen"
    assert [index for index, _ in seen] == sorted({index for index, _ in seen}), seen
    numbers = [int(value) for _, value in seen]
    assert numbers == sorted(numbers) and set(numbers) == set(range(count)), numbers


run([
    values_are_written_and_read,
    one_of_two_swaps_wins,
    keys_live_for_their_time,
    refresh_is_not_seen,
    directories_hold_keys_in_order,
    watches_see_what_they_are_told_to,
    history_is_limited,
    locks_exclude,
    the_cluster_is_known,
    writes_survive_the_member_that_took_them,
])
