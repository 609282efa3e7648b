# Pipelines and job control of a shell: run by bash and by busybox's sh.
set -u
seq 1 20000 | sort -rn | awk '{ sum += $1 } END { print NR, sum }'
printf 'b\na\nc\n' | tee copy | sort | tr '\n' ' '; echo; wc -l < copy
yes | head -n 100000 | wc -c
dd if=/dev/zero bs=4096 count=256 2>/dev/null | sha256sum
mkdir -p d/e; for n in 1 2 3; do echo "file $n" > "d/e/$n"; done
find d -type f | sort | xargs cat | grep -c file
tar cf - d | gzip | gunzip | tar tf - | sort
cat <<END | sed 's/here/there/'
a document here
END
(exit 5); echo "status $?"
false || echo "or"; true && echo "and"
sleep 0.05 & wait $!; echo "waited $?"
sh -c 'kill -TERM $$'; echo "killed $?"
trap 'echo trapped' USR1; kill -USR1 $$
mkfifo pipe; (echo through > pipe) & cat pipe; wait
echo "$( (echo inner; echo error >&2) 2>&1 | sort | tr '\n' ',' )"
ln -s d/e link; ls link/; readlink link; [ -L link ] && echo "a link"
umask 027; touch made; stat -c %a made
i=0; while [ "$i" -lt 200 ]; do /bin/true; i=$((i + 1)); done; echo "$i"
date -u -d @86400 +%F; env -i ONLY=1 env
exit 18
