'use strict';
// The least a Node.js function does; the event may keep it busy for a while, so that it can be looked at.

exports.handler = async (event) => {
  if (event.hold_ms) await new Promise((done) => setTimeout(done, event.hold_ms));
  return { greeting: `Hello, ${event.name}!` };
};
