# A repository from its first commit to its garbage collection. Run in an empty folder, with fixed names and dates.
set -e
git init -q -b trunk .
git config gc.auto 0
git config maintenance.auto false
i=1
while [ $i -le 12 ]; do
  mkdir -p "part$((i % 4))"
  j=1
  while [ $j -le 8 ]; do
    echo "file $j of step $i: $((i * j * 7919 % 1000))" >> "part$((i % 4))/f$j"
    j=$((j + 1))
  done
  seq 1 $((i * 300)) > numbers
  git add -A
  GIT_AUTHOR_DATE="2020-01-01T00:00:$((i + 10)) +0000" GIT_COMMITTER_DATE="2020-01-01T00:00:$((i + 10)) +0000" git commit -q -m "step $i"
  i=$((i + 1))
done
git branch side HEAD~5
git log --stat --format='%H %T %an %ad %s'
git log -p -3 --format=%s -- numbers | cksum
git diff --stat trunk side
git blame -s numbers | cksum
git grep -c step
git fsck --full --strict
git gc -q --aggressive --prune=now
git fsck --full
git cat-file --batch-all-objects --batch-check
git archive --format=tar HEAD | cksum
