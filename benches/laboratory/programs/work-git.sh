# work-git.sh FILE: 500 files added, committed, packed and looked through. Started by git itself, as an alias.
set -e
# Whatever repository git found around this folder, and told of in the environment, is nobody's business here.
unset $(git rev-parse --local-env-vars)
git init -q made
cd made
test -d .git
split -l 100 -a 3 "$1" part-
git add -A
git commit -q -m all
git -c pack.threads=4 repack -q -a -d -f --depth=10
git -c grep.threads=4 grep -c host-7 | sort | tail -n 5
git ls-tree -r HEAD | sha1sum
