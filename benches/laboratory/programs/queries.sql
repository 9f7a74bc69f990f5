-- Below the generated rows: indexes, joins, groups, texts put together, updates and deletions.
CREATE INDEX by_kind ON items(kind, price);
CREATE INDEX by_name ON items(name);
SELECT kind, count(*), sum(price), max(length(note)) FROM items GROUP BY kind ORDER BY kind LIMIT 12;
SELECT count(*) FROM items a JOIN items b ON a.kind = b.kind AND a.price = b.price AND a.id < b.id;
SELECT length(group_concat(name || ':' || note)) FROM items;
SELECT sum(length(words)) FROM (SELECT group_concat(upper(name), ' ') AS words FROM items GROUP BY price);
CREATE TABLE summary AS SELECT kind, price, count(*) AS many, group_concat(id) AS ids FROM items GROUP BY kind, price;
UPDATE items SET note = replace(note, 'a', 'aa') || id WHERE price % 3 = 0;
DELETE FROM items WHERE kind % 5 = 1;
SELECT count(*), sum(length(note)) FROM items;
SELECT many, count(*), max(length(ids)) FROM summary GROUP BY many ORDER BY many LIMIT 8;
WITH RECURSIVE steps(n, t) AS (VALUES (1, 'x') UNION ALL SELECT n + 1, substr(t || n, 1, 60) FROM steps WHERE n < 60000)
SELECT count(*), max(t) FROM steps;
PRAGMA integrity_check;
