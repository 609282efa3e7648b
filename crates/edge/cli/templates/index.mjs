// A function: `handler` is called with each event.
export const handler = async (event, context) => {
  const name = event.name ?? "world";
  return { message: `hello ${name}`, request: context.awsRequestId };
};
