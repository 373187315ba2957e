// The inside of a process that does tasks for its parent, one message for each: `{ id, task, given }` in, `{ id, found }`
// or `{ id, error }` out.

/** Answers the parent's messages until it goes. */
export function answerTasks(tasks) {
  process.on("message", async ({ id, task, given }) => {
    try {
      process.send({ id, found: await tasks[task](given) });
    } catch (error) {
      process.send({ id, error: String(error?.stack ?? error) });
    }
  });
  process.on("disconnect", () => process.exit(0));
  process.send({ id: 0, found: "up" });
}
