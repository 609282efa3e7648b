"""SQLite on a file: transactions, WAL, two connections that lock each other out, backup."""
import os, sqlite3, sys, threading

db = sqlite3.connect("a.db", isolation_level=None)
print(db.execute("pragma journal_mode=wal").fetchone())
db.execute("create table words (word text primary key, count integer)")
db.execute("begin")
db.executemany("insert into words values (?, ?)", ((f"word {i:05}", i) for i in range(20000)))
db.execute("commit")
other = sqlite3.connect("a.db", isolation_level=None, timeout=0)
print(other.execute("select count(*), sum(count) from words").fetchone())
db.execute("begin immediate")
try:
    other.execute("begin immediate")
except sqlite3.OperationalError as error:
    print(error)
db.execute("update words set count = 0 where count < 100")
print(other.execute("select sum(count) from words").fetchone())
db.execute("rollback")
waiting = sqlite3.connect("a.db", isolation_level=None, timeout=60, check_same_thread=False)
db.execute("begin immediate")
thread = threading.Thread(target=lambda: waiting.execute("delete from words where count % 2"))
thread.start()
db.execute("commit")
thread.join()
print(db.execute("select count(*) from words").fetchone())
copy = sqlite3.connect("b.db")
db.backup(copy)
print(copy.execute("pragma integrity_check").fetchone(), copy.execute("select max(word) from words").fetchone())
for connection in (other, waiting, copy, db):
    connection.close()
print(sorted(os.listdir(".")))
sys.exit(4)
