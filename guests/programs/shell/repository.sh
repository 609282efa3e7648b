# git: a repository, branches, a merge, a clone, a fetch, a garbage collection and a check.
set -eu
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.invalid GIT_COMMITTER_NAME=a
export GIT_COMMITTER_EMAIL=a@example.invalid GIT_AUTHOR_DATE='2001-01-01T00:00:00Z' GIT_COMMITTER_DATE='2001-01-01T00:00:00Z'
git init -q -b main one; cd one
for n in $(seq 40); do echo "$n" > "$n"; git add "$n"; git commit -qm "Add $n"; done
git checkout -qb side HEAD~5; echo side > side; git add .; git commit -qm side
git checkout -q main; git merge -q --no-edit side
git log --oneline | head -3; git rev-parse HEAD; git ls-files | wc -l
git -c gc.auto=0 repack -adq; git gc -q --prune=now; git fsck --full 2>&1
cd ..; git clone -q one two; cd two; git log -1 --format=%H
echo more >> 1; git diff --stat; git stash -q; git status --porcelain; git stash pop -q; git status --porcelain
git grep -c 7 | head -3; git archive HEAD | tar t | wc -l
git worktree add -q ../three side; ls ../three | wc -l
git commit -qam more; cd ../one; git pull -q ../two main; git log -1 --format=%s
exit 19
