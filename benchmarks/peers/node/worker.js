// A BullMQ worker that makes the request to the CRM.
import { Worker } from "bullmq";
import { RETRY_DELAYS, connection } from "./queue.js";

async function deliver(job) {
  const answer = await fetch(`${process.env.SINK_URL}/leads`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(job.data),
    signal: AbortSignal.timeout(10000),
  });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return (await answer.json()).id;
}

new Worker("peer", deliver, {
  connection, concurrency: Number(process.env.CONCURRENCY),
  settings: { backoffStrategy: (attempts) => RETRY_DELAYS[attempts - 1] },
});
