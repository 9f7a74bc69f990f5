-- Tables, indexes, recursive queries, sorting and text: all served by the shell's malloc.
CREATE TABLE item (id INTEGER PRIMARY KEY, kind TEXT, weight REAL, note TEXT);
WITH RECURSIVE n(i, s) AS (
  SELECT 1, 12345 UNION ALL SELECT i + 1, (s * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 40000
)
INSERT INTO item SELECT i, 'k' || (s / 65536 % 97), s % 10007 / 7.0, substr(hex(s) || hex(i), 1, s % 24) FROM n;
CREATE INDEX by_kind ON item (kind, weight);
CREATE INDEX by_note ON item (note);
SELECT kind, count(*), round(sum(weight), 3), min(note), max(note) FROM item GROUP BY kind ORDER BY kind;
SELECT count(DISTINCT note), length(group_concat(note)) FROM item;
DELETE FROM item WHERE id % 3 = 0;
UPDATE item SET note = note || '-' || kind WHERE id % 5 = 0;
SELECT a.kind, count(*) FROM item a JOIN item b ON b.note = a.note AND b.id > a.id GROUP BY a.kind ORDER BY 2 DESC, 1 LIMIT 20;
WITH RECURSIVE tree(id, depth, path) AS (
  SELECT 1, 0, '1' UNION ALL
  SELECT tree.id * 2 + k, depth + 1, path || '/' || (tree.id * 2 + k) FROM tree, (SELECT 0 AS k UNION SELECT 1) WHERE depth < 11
)
SELECT depth, count(*), max(path) FROM tree GROUP BY depth;
SELECT id, row_number() OVER (PARTITION BY kind ORDER BY weight, id) FROM item ORDER BY note, id LIMIT 50;
VACUUM;
PRAGMA integrity_check;
