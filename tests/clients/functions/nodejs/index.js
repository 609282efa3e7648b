// Answers what it was given; what a client test wants to see comes back as JSON.
"use strict";

const VERSION = "one";

exports.handler = async (event, context) => {
  console.log("a line for the log");
  if (event && event.raise) throw new TypeError(event.raise);
  return {
    event,
    mode: process.env.MODE ?? null,
    version: VERSION,
    request_id: context.awsRequestId,
    arn: context.invokedFunctionArn,
    custom: context.clientContext?.custom ?? null,
  };
};
