// A process of the gradient suite: does the tasks that it is sent, one after another.

import { perform, type Task } from "./gradient-tasks.ts";

process.on("message", (task: Task) => {
  void perform(task).then((outcome) => process.send?.(outcome));
});
process.on("disconnect", () => process.exit(0));
