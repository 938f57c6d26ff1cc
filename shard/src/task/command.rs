//! A command task: `wasi:cli/run`, with standard input, output and error.

use std::rc::Rc;
use std::sync::Arc;

use super::lifecycle::{begin, instantiated};
use super::{Outcome, Task, TaskOutput};
use crate::admission::Ticket;
use crate::artifact::Loaded;
use crate::guest::{self, Config, Guarded, Input, Output, Pipe, PipeEnd, Standard, Wiring};
use crate::shard::Shard;

/// What a command is started with.
pub(crate) struct Command {
    pub(crate) loaded: Rc<Loaded>,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) config: Config,
    pub(crate) input: Arc<Pipe>,
}

/// Takes the task through its life.
pub(crate) async fn run(shard: Rc<Shard>, task: Rc<Task>, command: Command, ticket: Ticket) {
    let input = Arc::clone(&command.input);
    guest_run(&shard, &task, command, ticket).await;
    // Whoever feeds the input or reads the output learns that the task is over.
    input.close_reader();
    if let TaskOutput::Streamed(pipe) = task.task_output() {
        let complete = task
            .error()
            .is_none_or(|error| error.code == vyr_core::problem::Code::GuestExit);
        pipe.end(if complete {
            PipeEnd::Complete
        } else {
            PipeEnd::Broken
        });
    }
}

async fn guest_run(shard: &Rc<Shard>, task: &Rc<Task>, command: Command, ticket: Ticket) {
    let Some(running) = begin(shard, task, ticket).await else {
        return;
    };
    let control = Arc::clone(&task.control);
    let output = match task.task_output() {
        TaskOutput::Kept(kept) => Some(Output::Kept(Arc::clone(kept), Arc::clone(&control))),
        TaskOutput::Streamed(pipe) => Some(Output::Streamed(Arc::clone(pipe))),
        TaskOutput::Response => None,
    };
    let standard = Standard {
        arguments: &command.arguments,
        environment: &command.environment,
        input: Input {
            pipe: command.input,
            control: Arc::clone(&control),
        },
        output,
    };
    let wiring = Wiring {
        standard: Some(standard),
        log: Arc::clone(&task.log),
        states: Rc::clone(&shard.states),
        bound: task.bindings.borrow().bound(),
        client: Rc::clone(&shard.client),
        artifact: task.artifact,
        hosts: Arc::clone(&command.loaded.hosts),
        steps: Rc::clone(&shard.steps),
        subject: task.subject(),
        config: command.config,
    };
    let mut store = guest::store(&shard.engine, wiring, &task.limits, &control);
    let loaded = command.loaded;
    let guest = async {
        let instance = loaded.command()?.instantiate_async(&mut store).await?;
        instantiated(shard, task);
        instance.wasi_cli_run().call_run(&mut store).await
    };
    let ended = Guarded::new(guest, control).await;
    running.finish_guest(ended, |result| {
        Outcome::exited(if result.is_ok() { 0 } else { 1 })
    });
}
