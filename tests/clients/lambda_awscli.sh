#!/bin/sh
# Drives the Lambda operations with the AWS CLI (first argument: its path) against AWS_ENDPOINT_URL.
set -eu
aws=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=awscli-$$
python3 - "$here/functions/python/app.py" "$work/code.zip" <<'PY'
import sys, zipfile
with zipfile.ZipFile(sys.argv[2], "w") as archive:
    archive.write(sys.argv[1], "app.py")
PY
lambda() { "$aws" lambda "$@" --output text; }
fail() { echo "awscli: $*" >&2; exit 1; }
same() { [ "$1" = "$2" ] || fail "expected '$2', got '$1'"; }

same "$(lambda create-function --function-name "$name" --runtime "${TEST_PYTHON_RUNTIME:-python3.11}" \
    --role arn:aws:iam::123456789012:role/lambda --handler app.handler --zip-file "fileb://$work/code.zip" \
    --environment 'Variables={MODE=cli}' --timeout 20 --tags a=1,b=2 --query State)" Pending
lambda wait function-active-v2 --function-name "$name"
same "$(lambda get-function --function-name "$name" --query Configuration.State)" Active
same "$(lambda get-function-configuration --function-name "$name" --query Timeout)" 20

same "$(lambda invoke --function-name "$name" --payload '{"n": 7}' --cli-binary-format raw-in-base64-out \
    "$work/out.json" --query StatusCode 2>/dev/null || lambda invoke --function-name "$name" --payload '{"n": 7}' \
    "$work/out.json" --query StatusCode)" 200
grep -q '"n": *7' "$work/out.json" || fail "answer: $(cat "$work/out.json")"
grep -q '"mode": *"cli"' "$work/out.json" || fail "answer: $(cat "$work/out.json")"
lambda invoke --function-name "$name" --log-type Tail --query LogResult "$work/out.json" | base64 -d | grep -q REPORT
same "$(lambda invoke --function-name "$name" --invocation-type DryRun --query StatusCode "$work/out.json")" 204

lambda update-function-code --function-name "$name" --zip-file "fileb://$work/code.zip" >/dev/null
lambda wait function-updated-v2 --function-name "$name"
same "$(lambda update-function-configuration --function-name "$name" --memory-size 512 --query MemorySize)" 512
same "$(lambda list-versions-by-function --function-name "$name" --query 'Versions[].Version')" '$LATEST'
lambda list-functions --query 'Functions[].FunctionName' | tr '\t' '\n' | grep -qx "$name" || fail "not listed"

arn=$(lambda get-function --function-name "$name" --query Configuration.FunctionArn)
lambda tag-resource --resource "$arn" --tags c=3
lambda untag-resource --resource "$arn" --tag-keys a b
same "$(lambda list-tags --resource "$arn" --query Tags.c)" 3
lambda get-account-settings --query AccountUsage.FunctionCount >/dev/null

lambda delete-function --function-name "$name"
if lambda get-function --function-name "$name" 2>"$work/err"; then fail "still there"; fi
grep -q ResourceNotFoundException "$work/err" || fail "$(cat "$work/err")"
echo "awscli: ok"
