# SPDX-License-Identifier: MIT
"""The fixture of wordcount_test: trees of awkward files, and what is to be counted in them, said a second time in Python."""

import collections
import os
import random
import re
import socket
import subprocess

BLOCK = 64 * 1024  # what wordcount reads at once
TEXT_MAX = 1024  # words are told apart by so many bytes
PRINTABLE = bytes(range(0x21, 0x7F))


def words_of(data):
    """The words of `LC_ALL=C wc -w`: runs of other bytes than the six spaces that have a printable one."""
    runs = re.split(rb"[ \t\n\v\f\r]+", data)
    return [run for run in runs if re.search(rb"[!-~]", run)]


def table_of(data):
    return collections.Counter(word[:TEXT_MAX] for word in words_of(data))


def by_frequency(table):
    """As wordcount shows it: the more frequent first, ties in byte order, long words cut."""
    rows = sorted(table.items(), key=lambda row: (-row[1], row[0]))
    return [(count, escape(word[:60]) + ("..." if len(word) > 60 else "")) for word, count in rows]


def escape(data):
    return "".join(chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02x}" for byte in data)


def wc(path):
    environment = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    with open(path, "rb") as stream:
        done = subprocess.run(["wc", "-w"], stdin=stream, env=environment, stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def wc_is_that_of_debian_12(scratch):
    """Later ones count unprintable bytes as words, too."""
    path = os.path.join(scratch, "probe")
    with open(path, "wb") as stream:
        stream.write(b"\x01 \xc2\xa0 \x80")
    words = wc(path)
    os.unlink(path)
    return words == 0


# ---- files ----


def at_block_ends(generator):
    """Blocks that end with a word, a blank, inside a word, and inside a run that is no word."""
    ends = [b"word ", b" word", b"a \x01\x02", b" \x80\x81"]
    data = b""
    for end in ends:
        filler = bytes(generator.choice(b"ab \n") for _ in range(BLOCK - len(end)))
        data += filler + end
    return data + b"\x82 last"


def random_bytes(generator, size, alphabet):
    return bytes(generator.choices(alphabet, k=size))


def contents():
    """Name -> bytes of every regular file."""
    generator = random.Random(2)
    files = {
        b"empty": b"",
        b"blank": b" \t\n\v\f\r" * 1000,
        b"every byte": bytes(range(256)),
        b"every byte between letters": b"".join(b"a%cb" % byte for byte in range(256)),
        b"every byte alone": b"".join(b" %c" % byte for byte in range(256)),
        b"crlf": b"one two\r\nthree\r\n\r\n",
        b"utf-8": "naïve café ﬁn — … \u00a0 日本語 x日本語 ñ\n".encode(),
        b"one huge line": b"to be or not " * 40000,
        b"one huge word": b"w" * (3 * BLOCK + 17),
        b"huge words that differ late": (b"v" * 2000 + b"1 ") + (b"v" * 2000 + b"2 ") + (b"v" * 1023 + b"3 ") * 2,
        b"a huge run that is no word": b"\x01" * (2 * BLOCK),
        b"a huge run with one letter at its end": b"\x01" * (2 * BLOCK) + b"a",
        b"exactly one block": b"x" * (BLOCK - 2) + b" y",
        b"a word ends with the block": b"x" * BLOCK + b" y",
        b"block ends": at_block_ends(generator),
        b"name with\nnewline": b"newline",
        b"name that is no UTF-8 \xff\xfe": b"latin",
        b"-w": b"dash dash",
    }
    for byte in range(256):
        files[b"byte %d" % byte] = bytes([byte])
    for number, alphabet in enumerate([bytes(range(256)), b" \n\x01\x80a\xc2\xa0", b"ab \n"] * 3):
        files[b"random %d" % number] = random_bytes(generator, generator.randrange(3 * BLOCK), alphabet)
    return files


def write(directory, name, data):
    with open(os.path.join(os.fsencode(directory), os.fsencode(name)), "wb") as stream:
        stream.write(data)


def fill(directory, files):
    for name, data in files.items():
        write(directory, name, data)


# ---- other things ----


def make_special(directory):
    """Name -> what wordcount is to say of it."""
    said = {"fifo": "a fifo, skipped", "socket": "a socket, skipped"}
    os.mkfifo(os.path.join(directory, "fifo"))
    here = os.getcwd()
    os.chdir(directory)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
    finally:
        os.chdir(here)
    return said


def make_links(directory):
    """The links that are loops. There are also two ordinary ones and a dangling one."""
    links = {"dangling": "nowhere", "to a file": "file", "to a directory": os.path.join("..", "beside")}
    loops = {"itself": "itself", "ping": "pong", "pong": "ping", "up": ".", "further up": ".."}
    for name, target in {**links, **loops}.items():
        os.symlink(target, os.path.join(directory, name))
    return loops


def make_deep(directory, levels, name="d" * 50):
    """A chain of directories far longer than a path may be; in each a file, and a second directory with another file."""
    descriptor = os.open(directory, os.O_RDONLY)
    for _ in range(levels):
        for branch in (name, "side"):
            os.mkdir(branch, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        for path in ("file", os.path.join("side", "file")):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=descriptor), "w") as stream:
                stream.write("deep")
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
