"""Works the interpreter's malloc from one thread and from many; prints figures that depend on nothing else."""
import hashlib
import json
import random
import re
import sqlite3
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor


def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()[:16]


def documents(seed, count):
    draw = random.Random(seed)
    return [
        {"id": i, "name": "n%d" % draw.randrange(10**9), "tags": [draw.random() for _ in range(draw.randrange(12))],
         "text": "".join(chr(97 + draw.randrange(26)) for _ in range(draw.randrange(200)))}
        for i in range(count)
    ]


def roundtrip(seed):
    docs = documents(seed, 400)
    text = json.dumps(docs, sort_keys=True)
    packed = zlib.compress(text.encode(), 6)
    assert json.loads(zlib.decompress(packed)) == docs
    return digest(packed)


def sorting(seed):
    draw = random.Random(seed)
    words = ["%x" % draw.getrandbits(draw.randrange(8, 400)) for _ in range(15000)]
    words.sort(key=lambda w: (len(w), w))
    return digest("".join(words))


def database(seed):
    db = sqlite3.connect(":memory:")
    db.execute("create table t (id integer primary key, name text, text text)")
    db.executemany("insert into t values (?, ?, ?)", ((d["id"], d["name"], d["text"]) for d in documents(seed, 1000)))
    db.execute("create index by_name on t (name)")
    rows = db.execute("select length(text) n, count(*), max(name) from t group by n order by n").fetchall()
    db.close()
    return digest(repr(rows))


def growing(seed):
    chunk, total = bytes(range(256)) * (seed % 7 + 1), bytearray()
    for _ in range(1500):
        total += chunk
    del total[: len(total) // 3]
    return digest(bytes(total))


def words(seed):
    text = " ".join(d["text"] for d in documents(seed, 200))
    return digest(repr(sorted(set(re.findall(r"[aeiou]+[^aeiou]", text)))))


JOBS = [roundtrip, sorting, database, growing, words]

for job in JOBS:
    print(job.__name__, job(1))

with ThreadPoolExecutor(6) as pool:
    results = list(pool.map(lambda n: (JOBS[n % len(JOBS)].__name__, JOBS[n % len(JOBS)](n)), range(25)))
for name, value in results:
    print("pool", name, value)

# Short threads: each leaves an object that the next one drops.
left = {}


def leave(n):
    left.pop(n - 1, None)
    left[n] = documents(n, 5)


for n in range(300):
    thread = threading.Thread(target=leave, args=(n,))
    thread.start()
    thread.join()
print("left", digest(json.dumps(left[299])))
