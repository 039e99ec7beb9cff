// The queue that the web processes and the worker share.
import { Queue } from "bullmq";

const url = new URL(process.env.REDIS_URL);

export const RETRY_DELAYS = [1000, 5000, 25000];
export const connection = {
  host: url.hostname, port: Number(url.port), password: url.password, maxRetriesPerRequest: null,
};
const options = { attempts: RETRY_DELAYS.length + 1, backoff: { type: "custom" }, removeOnComplete: true };

export const queue = () => new Queue("peer", { connection, defaultJobOptions: options });
