// Puts a number of applications into the queue.
import { queue } from "./queue.js";

const jobs = queue(), count = Number(process.argv[2]);
for (let start = 0; start < count; start += 500) {
  const part = Array.from({ length: Math.min(500, count - start) }, (_, i) => start + i);
  await jobs.addBulk(part.map((number) => ({
    name: "deliver",
    data: {
      operation: `operation-${number}`, source: "website",
      personal_info: { first_name: `Test${number}`, last_name: "Öğrenci", email: `test${number}@example.com` },
    },
  })));
}
await jobs.close();
