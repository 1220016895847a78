#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wordcount counts what `LC_ALL=C wc -w` counts, skips and says what it must, and ends as it says.

Argument: the directory of the built examples.
"""

import collections
import contextlib
import ctypes
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import tap
import wordcount_tree as tree

PROGRAM = str(pathlib.Path(sys.argv[1]).resolve() / "wordcount")
ALL_WORDS = "--top=1000000"

Report = collections.namedtuple("Report", "status words totals said")


# ---- running it ----


def run(*arguments, **more):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, timeout=120, check=False, **more)


def report(*arguments, **more):
    """Runs without the comparison. `totals` is label -> number, without the time; `said` the lines of standard error."""
    done = run("--no-compare", *arguments, **more)
    words, _, totals = ("\n" + done.stdout.decode("ascii")).rpartition("\n\n")
    rows = dict(reversed(line.split(maxsplit=1)) for line in totals.splitlines())
    numbers = {label: int(number) for label, number in rows.items() if "seconds" not in label}
    shown = [re.fullmatch(r" *(\d+)  (.*)", line).groups() for line in words.splitlines()[1:]]
    return Report(
        done.returncode,
        [(int(count), word) for count, word in shown],
        numbers,
        done.stderr.decode("ascii").splitlines(),
    )


@contextlib.contextmanager
def scratch():
    directory = tempfile.mkdtemp(prefix="wordcount-")
    try:
        yield directory
    finally:
        subprocess.run(["chmod", "-R", "u+rwx", directory], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["rm", "-rf", directory], check=True)


@contextlib.contextmanager
def tree_of(files):
    with scratch() as directory:
        tree.fill(directory, files)
        yield directory


def without_privileges():
    """To be called in the child: even root is then refused what the permission bits forbid."""
    drop_from_bounding_set = 24
    if os.geteuid() == 0:
        for may_read_all in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(drop_from_bounding_set, may_read_all, 0, 0, 0)


def need_permission_bits(path):
    done = subprocess.run(["cat", path], preexec_fn=without_privileges, capture_output=True, check=False)
    if done.returncode == 0:
        raise tap.Skip("everything is readable here")


# ---- what is a word ----


def each_file_has_the_words_of_wc():
    with scratch() as directory:
        same_wc = tree.wc_is_that_of_debian_12(directory)
        for number, (name, data) in enumerate(tree.contents().items()):
            place = os.path.join(directory, str(number))
            os.mkdir(place)
            tree.write(place, name, data)
            found = report("--workers=1", "--top=0", place)
            tap.equal(found.totals["words"], len(tree.words_of(data)), f"words of {name}")
            tap.equal((found.totals["files"], found.totals["bytes"]), (1, len(data)), f"files and bytes of {name}")
            if same_wc or re.fullmatch(rb"[ -~\s]*", data):
                path = os.path.join(os.fsencode(place), name)
                tap.equal(found.totals["words"], tree.wc(path), f"words of {name} by wc")


def a_tree_has_the_words_of_all_its_files():
    files = tree.contents()
    with tree_of(files) as directory:
        found = report("--workers=3", ALL_WORDS, directory)
    table = sum((tree.table_of(data) for data in files.values()), collections.Counter())
    tap.equal(found.words, tree.by_frequency(table), "table")
    tap.equal(found.totals["words"], sum(len(tree.words_of(data)) for data in files.values()), "words")
    tap.equal(found.totals["different words"], len(table), "different words")
    tap.equal(found.totals["files"], len(files), "files")
    tap.equal(found.totals["bytes"], sum(len(data) for data in files.values()), "bytes")
    tap.equal(found.totals["unreadable"], 0, "unreadable")
    tap.equal((found.status, found.said), (0, []))


def the_number_of_workers_changes_nothing():
    with tree_of(tree.contents()) as directory:
        one, *others = [report(f"--workers={workers}", ALL_WORDS, directory) for workers in (1, 2, 5, 40)]
    for other in others:
        tap.equal(other == one, True, "equality of the reports")


def ties_come_in_byte_order():
    data = b"b a B ab \xffz ~ a! 10 9 Z aa " * 3 + b"often " * 5 + b"rare"
    with tree_of({"file": data}) as directory:
        words = report(directory).words
    order = ["10", "9", "B", "Z", "a", "a!", "aa", "ab", "b", "~", "\\xffz"]
    tap.equal(words, [(5, "often")] + [(3, word) for word in order] + [(1, "rare")])


def the_most_frequent_come_first_and_only_so_many():
    files = {f"file {part}": b"".join(b"word%d " % n * n for n in range(part, 61, 3)) for part in range(3)}
    with tree_of(files) as directory:
        tap.equal(report(directory).words, [(60 - n, f"word{60 - n}") for n in range(20)], "20 by default")
        tap.equal(report("--top=2", directory).words, [(60, "word60"), (59, "word59")], "top 2")
        tap.equal(report("--top=0", directory).words, [], "top 0")


# ---- what is read and what is not ----


def links_are_counted_and_not_followed_and_loops_are_named():
    with scratch() as directory:
        inside, beside = os.path.join(directory, "inside"), os.path.join(directory, "beside")
        for place in (inside, beside):
            os.mkdir(place)
            tree.write(place, "file", b"one two")
        loops = tree.make_links(inside)
        found = report(directory)
    tap.equal(found.totals["files"], 2, "files")
    tap.equal(found.totals["words"], 4, "words")
    tap.equal(found.totals["symbolic links skipped"], 2, "symbolic links")
    tap.equal(found.totals["dangling links skipped"], 1, "dangling links")
    tap.equal(found.totals["loops of links skipped"], len(loops), "loops of links")
    said = sorted(f"wordcount: {inside}/{name}: a loop of links, skipped" for name in loops)
    tap.equal((found.status, sorted(found.said)), (0, said))


def special_files_are_named_and_not_opened():
    with tree_of({"file": b"one"}) as directory:
        special = tree.make_special(directory)
        found = report(directory)
    tap.equal((found.totals["fifos skipped"], found.totals["sockets skipped"], found.totals["files"]), (1, 1, 1))
    said = sorted(f"wordcount: {directory}/{name}: {what}" for name, what in special.items())
    tap.equal((found.status, sorted(found.said)), (0, said))


def devices_are_named_and_not_opened():
    with tree_of({"file": b"one"}) as directory:
        try:
            os.mknod(os.path.join(directory, "device"), 0o20600, os.makedev(1, 5))
        except OSError as error:
            raise tap.Skip(f"no device can be made: {error}") from error
        found = report(directory)
    tap.equal((found.totals["devices skipped"], found.totals["files"]), (1, 1))
    tap.equal((found.status, found.said), (0, [f"wordcount: {directory}/device: a device, skipped"]))


def what_is_unreadable_is_named_with_the_reason_and_not_fatal():
    with tree_of({"good": b"one two", "bad\n\xff": b"three"}) as directory:
        bad = os.path.join(os.fsencode(directory), b"bad\n\xc3\xbf")
        os.mkdir(os.path.join(directory, "closed"))
        tree.write(os.path.join(directory, "closed"), "file", b"four")
        os.chmod(bad, 0)
        os.chmod(os.path.join(directory, "closed"), 0)
        need_permission_bits(bad)
        found = report(directory, preexec_fn=without_privileges)
    tap.equal((found.totals["files"], found.totals["words"], found.totals["unreadable"]), (1, 2, 2))
    names = ["bad\\x0a\\xc3\\xbf", "closed"]
    tap.equal(sorted(found.said), [f"wordcount: {directory}/{name}: Permission denied" for name in names])
    tap.equal(found.status, 1, "exit status")


def a_directory_that_can_be_listed_but_not_searched_is_left_again():
    with scratch() as directory:
        for name in ("a", "b", "c"):
            os.mkdir(os.path.join(directory, name))
            tree.write(os.path.join(directory, name), "file", b"one")
        os.chmod(os.path.join(directory, "b"), 0o444)
        need_permission_bits(os.path.join(directory, "b", "file"))
        found = report(directory, preexec_fn=without_privileges)
    tap.equal((found.totals["files"], found.totals["unreadable"]), (2, 1))
    tap.equal((found.status, found.said), (1, [f"wordcount: {directory}/b/file: Permission denied"]))


def a_tree_may_be_deeper_than_any_path_and_than_the_descriptors_allowed():
    levels = 400

    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    with scratch() as directory:
        tree.make_deep(directory, levels)
        found = report("--workers=1", directory, preexec_fn=few_descriptors)
    tap.equal((found.status, found.said), (0, []))
    tap.equal((found.totals["files"], found.totals["words"]), (2 * levels, 2 * levels))


def a_directory_given_twice_is_counted_once():
    with tree_of({"file": b"one"}) as directory:
        os.mkdir(os.path.join(directory, "inner"))
        tree.write(os.path.join(directory, "inner"), "file", b"two")
        inner = os.path.join(directory, "inner")
        found = report(inner, directory, directory + "/.")
    tap.equal((found.totals["files"], found.totals["repeated directories skipped"]), (2, 2))
    tap.equal(found.status, 0, "exit status")
    said = [f"wordcount: {path}: a directory that was walked already, skipped" for path in (inner, directory + "/.")]
    tap.equal(sorted(found.said), sorted(said))


def several_directories_are_one_count_and_a_link_may_be_given():
    with tree_of({"file": b"one"}) as first, tree_of({"file": b"one two"}) as second, scratch() as third:
        link = os.path.join(third, "link")
        os.symlink(second, link)
        found = report(first, link)
    tap.equal((found.status, found.words), (0, [(2, "one"), (1, "two")]))


def what_cannot_be_walked_is_named():
    with tree_of({"file": b"one"}) as directory:
        found = report(directory, directory + "/missing", directory + "/file")
    said = [
        f"wordcount: {directory}/missing: No such file or directory",
        f"wordcount: {directory}/file: Not a directory",
    ]
    tap.equal((found.status, sorted(found.said)), (1, sorted(said)))
    tap.equal((found.totals["files"], found.totals["unreadable"]), (1, 2))


# ---- what it says and how it ends ----


def the_speed_up_is_measured_over_the_same_files():
    with tree_of({f"file {number}": b"some words " * 1000 for number in range(20)}) as directory:
        done = run("--workers=2", directory, env=dict(os.environ, CREW_CPU_COUNT="2"))
    tap.equal((done.returncode, done.stderr), (0, b""))
    tail = done.stdout.decode().split("\n\n")[-1]
    pattern = (
        r" +(\d+\.\d{3})  seconds with 1 worker, warm cache\n"
        r" +(\d+\.\d{3})  seconds with 2 workers, warm cache\n"
        r" +(\d+\.\d\d)  times as fast on 2 CPUs\n"
    )
    assert re.fullmatch(pattern, tail), tail


def one_worker_has_nothing_to_be_compared_with():
    with tree_of({"file": b"one"}) as directory:
        done = run(directory, env=dict(os.environ, CREW_CPU_COUNT="1"))
    tap.equal(done.returncode, 0, "exit status")
    tap.contains(done.stdout, b"\n\nOne worker on 1 CPU: no speed-up to measure.\n")


def wrong_usage_is_refused():
    for arguments in ([], ["--workers=2"], ["--workers=-1", "."], ["--top=2x", "."], ["--nonsense", "."], ["--top="]):
        done = run(*arguments)
        tap.equal((done.returncode, done.stdout), (2, b""), f"{arguments}")
        tap.contains(done.stderr, b"Try: wordcount --help\n")


def help_is_no_error():
    done = run("--help")
    tap.equal((done.returncode, done.stderr), (0, b""))
    tap.contains(done.stdout, b"Usage: wordcount")


def a_bad_number_of_cpus_is_said():
    done = run(".", env=dict(os.environ, CREW_CPU_COUNT="x"))
    tap.equal((done.returncode, done.stdout), (2, b""))
    tap.contains(done.stderr, b"CREW_CPU_COUNT")


def a_full_disk_is_said():
    with tree_of({"file": b"one"}) as directory, open("/dev/full", "wb") as full:
        done = subprocess.run(
            [PROGRAM, "--no-compare", directory], stdout=full, stderr=subprocess.PIPE, timeout=120, check=False
        )
    tap.equal(done.returncode, 2, "exit status")
    tap.contains(done.stderr, b"standard output: No space left on device")


def read_all(terminal):
    """Until the other side is closed."""
    said = b""
    with contextlib.suppress(OSError):
        while block := os.read(terminal, 65536):
            said += block
    return said


@contextlib.contextmanager
def on_terminal(*arguments):
    """The running program and the terminal that its standard error is."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.close(ours)


def a_terminal_shows_progress_which_is_wiped_at_the_end():
    with tree_of({"file": b"one"}) as directory, on_terminal("--no-compare", directory) as (process, terminal):
        said = read_all(terminal)
        tap.equal(process.wait(timeout=120), 0, "exit status")
    assert re.fullmatch(rb"(\rcounting: \d+ files, \d+\.\d MB\x1b\[K)+\r\x1b\[K", said), said


@contextlib.contextmanager
def endless_tree():
    """A file that takes minutes to read, and a fifo, whose mention shows that the program has begun."""
    with tree_of({"file": b"one two"}) as directory:
        tree.make_special(directory)
        with open(os.path.join(directory, "endless"), "wb") as stream:
            try:
                stream.truncate(1 << 40)
            except OSError as error:
                raise tap.Skip(f"no file of that size: {error}") from error
        yield directory


INTERRUPTED = b"wordcount: interrupted: the totals are of what was counted until then"


def an_interrupt_ends_it_soon_with_partial_totals():
    with endless_tree() as directory:
        process = subprocess.Popen(
            [PROGRAM, "--workers=2", directory], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        try:
            process.stderr.readline()
            process.send_signal(signal.SIGINT)
            output, said = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    tap.equal(process.returncode, 130, "exit status")
    tap.contains(output, b"  files\n")
    tap.contains(said, INTERRUPTED + b"\n")


def an_interrupt_wipes_the_progress_line():
    with endless_tree() as directory, on_terminal("--workers=2", directory) as (process, terminal):
        said = os.read(terminal, 65536)
        process.send_signal(signal.SIGINT)
        said += read_all(terminal)
        tap.equal(process.wait(timeout=60), 130, "exit status")
    *_, last = said.split(b"\r\x1b[K")
    tap.contains(last, INTERRUPTED)


def main():
    if not shutil.which("wc"):
        print("1..0 # SKIP no wc")
        return 0
    return tap.run(
        [
            each_file_has_the_words_of_wc,
            a_tree_has_the_words_of_all_its_files,
            the_number_of_workers_changes_nothing,
            ties_come_in_byte_order,
            the_most_frequent_come_first_and_only_so_many,
            links_are_counted_and_not_followed_and_loops_are_named,
            special_files_are_named_and_not_opened,
            devices_are_named_and_not_opened,
            what_is_unreadable_is_named_with_the_reason_and_not_fatal,
            a_directory_that_can_be_listed_but_not_searched_is_left_again,
            a_tree_may_be_deeper_than_any_path_and_than_the_descriptors_allowed,
            a_directory_given_twice_is_counted_once,
            several_directories_are_one_count_and_a_link_may_be_given,
            what_cannot_be_walked_is_named,
            the_speed_up_is_measured_over_the_same_files,
            one_worker_has_nothing_to_be_compared_with,
            wrong_usage_is_refused,
            help_is_no_error,
            a_bad_number_of_cpus_is_said,
            a_full_disk_is_said,
            a_terminal_shows_progress_which_is_wiped_at_the_end,
            an_interrupt_ends_it_soon_with_partial_totals,
            an_interrupt_wipes_the_progress_line,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
