// Counts the words of a text: `{"text": "to be or not to be"}` in, the counts out.

/** How often this instance has counted; it starts at zero with each new instance. */
let calls = 0;

export const handler = async (event, context) => {
  calls += 1;
  const words = String(event.text ?? 'hello world').toLowerCase().match(/\p{L}+/gu) ?? [];
  const counts = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  console.log(`counted ${words.length} words`);
  return {
    words: words.length,
    counts,
    from: `Node.js ${process.version}`,
    calls,
    request: context.awsRequestId,
    millisecondsLeft: context.getRemainingTimeInMillis(),
  };
};
