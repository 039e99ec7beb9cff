// Fastify, zod and BullMQ in two processes: one `add` for each request.
import cluster from "node:cluster";
import { randomUUID } from "node:crypto";
import Fastify from "fastify";
import { z } from "zod";
import { queue } from "./queue.js";

const Application = z.object({
  personal_info: z.object({
    first_name: z.string().min(1).max(100), last_name: z.string().min(1).max(100), email: z.email(),
  }),
  source: z.string().default("website"),
});

function serve() {
  const jobs = queue(), app = Fastify();
  app.post("/api/v1/applications", async (request, reply) => {
    const read = Application.safeParse(request.body);
    if (!read.success) return reply.code(422).send({ problems: read.error.issues });
    const id = randomUUID();
    await jobs.add("deliver", { operation: id, ...read.data });
    return reply.code(202).send({ id, status: "accepted" });
  });
  app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
}

if (cluster.isPrimary) for (let i = 0; i < 2; i++) cluster.fork();
else serve();
