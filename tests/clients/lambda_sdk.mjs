// Drives the Lambda operations with the AWS SDK for JavaScript against AWS_ENDPOINT_URL.
// NODE_CLIENTS names the directory that holds node_modules.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { crc32 } from "node:zlib";

const require = createRequire(`${process.env.NODE_CLIENTS}/`);
const sdk = require("@aws-sdk/client-lambda");
const client = new sdk.LambdaClient({ maxAttempts: 1 });
const call = (operation, input = {}) => client.send(new sdk[`${operation}Command`](input));

// A zip with one stored file (APPNOTE.TXT 4.3).
function zipOf(name, text) {
  const data = Buffer.from(text);
  const common = Buffer.alloc(26);
  common.writeUInt16LE(20, 0);
  common.writeUInt32LE(crc32(data), 10);
  common.writeUInt32LE(data.length, 14);
  common.writeUInt32LE(data.length, 18);
  common.writeUInt16LE(name.length, 22);
  const local = Buffer.concat([Buffer.from("PK\x03\x04"), common, Buffer.from(name), data]);
  const entry = Buffer.concat([Buffer.from("PK\x01\x02\x14\x00"), common, Buffer.alloc(14), Buffer.from(name)]);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", 0, "latin1");
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(entry.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, entry, end]);
}

async function refused(name, status, text, operation, input) {
  await assert.rejects(call(operation, input), (error) => {
    assert.equal(error.name, name);
    assert.equal(error.$metadata.httpStatusCode, status);
    assert.ok(error.message.includes(text), error.message);
    if (sdk[name]) assert.ok(error instanceof sdk[name], `${name} is no class of the SDK's`);
    return true;
  });
}

const name = `sdk-js-${process.pid}`;
const source = readFileSync(new URL("functions/nodejs/index.js", import.meta.url), "utf8");
const json = (answer) => JSON.parse(Buffer.from(answer.Payload).toString());

const created = await call("CreateFunction", {
  FunctionName: name,
  Role: "arn:aws:iam::123456789012:role/lambda",
  Runtime: process.env.TEST_NODE_RUNTIME ?? "nodejs20.x",
  Handler: "index.handler",
  Code: { ZipFile: zipOf("index.js", source) },
  Environment: { Variables: { MODE: "test" } },
  Timeout: 20,
});
assert.equal(created.State, "Pending");
await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 10 }, { FunctionName: name });
const got = await call("GetFunction", { FunctionName: name });
assert.equal(got.Configuration.State, "Active");
assert.equal((await fetch(got.Code.Location)).status, 200);
const arn = got.Configuration.FunctionArn;

const answer = await call("Invoke", {
  FunctionName: arn,
  Payload: JSON.stringify({ n: 1 }),
  LogType: "Tail",
  ClientContext: Buffer.from(JSON.stringify({ custom: { key: "value" } })).toString("base64"),
});
assert.equal(answer.StatusCode, 200);
assert.equal(answer.ExecutedVersion, "$LATEST");
assert.equal(answer.FunctionError, undefined);
assert.deepEqual(json(answer).event, { n: 1 });
assert.equal(json(answer).mode, "test");
assert.deepEqual(json(answer).custom, { key: "value" });
assert.equal(json(answer).request_id, answer.$metadata.requestId);
assert.match(Buffer.from(answer.LogResult, "base64").toString(), /a line for the log[^]*REPORT RequestId: /);

const failed = await call("Invoke", { FunctionName: name, Payload: JSON.stringify({ raise: "asked to" }) });
assert.equal(failed.FunctionError, "Unhandled");
assert.equal(json(failed).errorType, "TypeError");
assert.equal(json(failed).errorMessage, "asked to");
assert.equal((await call("Invoke", { FunctionName: name, InvocationType: "DryRun" })).StatusCode, 204);
await refused("InvalidRequestContentException", 400, "Could not parse request body into json: ", "Invoke", {
  FunctionName: name,
  Payload: "{",
});

const zip = zipOf("index.js", source.replace('"one"', '"two"'));
assert.equal((await call("UpdateFunctionCode", { FunctionName: name, ZipFile: zip })).LastUpdateStatus, "InProgress");
await sdk.waitUntilFunctionUpdatedV2({ client, maxWaitTime: 10 }, { FunctionName: name });
assert.equal(json(await call("Invoke", { FunctionName: name })).version, "two");
await call("UpdateFunctionConfiguration", { FunctionName: name, Description: "new" });
assert.equal((await call("GetFunctionConfiguration", { FunctionName: name })).Description, "new");
await refused("PreconditionFailedException", 412, "Revision Id", "UpdateFunctionConfiguration", {
  FunctionName: name,
  RevisionId: created.RevisionId,
});

const listed = [];
for await (const page of sdk.paginateListFunctions({ client, pageSize: 1 }, {})) {
  assert.ok(page.Functions.length <= 1);
  listed.push(...page.Functions.map((entry) => entry.FunctionName));
}
assert.ok(listed.includes(name));
assert.equal((await call("ListVersionsByFunction", { FunctionName: name })).Versions[0].Version, "$LATEST");
await call("TagResource", { Resource: arn, Tags: { a: "1", b: "2" } });
await call("UntagResource", { Resource: arn, TagKeys: ["a"] });
assert.deepEqual((await call("ListTags", { Resource: arn })).Tags, { b: "2" });
assert.ok((await call("GetAccountSettings")).AccountUsage.FunctionCount >= 1);
assert.equal((await call("GetFunctionCodeSigningConfig", { FunctionName: name })).FunctionName, name);

await call("DeleteFunction", { FunctionName: name });
await refused("ResourceNotFoundException", 404, `Function not found: ${arn}`, "GetFunction", { FunctionName: name });
console.log("sdk-js: ok");
