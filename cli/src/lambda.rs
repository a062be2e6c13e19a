//! `pixel-engine lambda`.

use std::env;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use pixel_engine::consume::lambda::aggregate::Aggregate;
use pixel_engine::consume::lambda::runtime::{API_VARIABLE, HandlerError, report_init_error, serve};
use pixel_engine::consume::lambda::transform::Transform;
use signal_hook::consts::SIGTERM;

use crate::Outcome;

/// Be a function of AWS Lambda
///
/// Answers one invocation after the other, as the custom runtime of a function. Everything is said
/// in variables of its environment: PIXEL_ENGINE_LAMBDA says which function it is, and
/// PIXEL_ENGINE_SELECT, for instance, is what --select is elsewhere.
#[derive(Args)]
#[command(after_help = "Functions:
  PIXEL_ENGINE_LAMBDA=aggregate  records of a Kinesis stream, packed, into another one or Firehose
  PIXEL_ENGINE_LAMBDA=transform  Firehose's data transformation: lines into JSON lines")]
pub(crate) struct Lambda {}

/// Which function it is.
const FUNCTION_VARIABLE: &str = "PIXEL_ENGINE_LAMBDA";
const FUNCTIONS: &str = "aggregate or transform";

impl Lambda {
    pub(crate) fn run(self) -> Outcome {
        let Ok(api) = env::var(API_VARIABLE) else {
            eprintln!("pixel-engine: {API_VARIABLE} is not set, as it is for the runtime of a Lambda function");
            return Outcome::Failed;
        };
        // Nothing is in flight that would be lost: an invocation without an answer is tried again.
        let at_once = Arc::new(AtomicBool::new(true));
        if let Err(error) = signal_hook::flag::register_conditional_shutdown(SIGTERM, 0, at_once) {
            eprintln!("pixel-engine: listening for signals: {error}");
            return Outcome::Failed;
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("pixel-engine: {error}");
                return Outcome::Failed;
            }
        };
        let ended = runtime.block_on(async {
            let error = match function().await {
                Ok(Function::Aggregate(aggregate)) => serve(&api, *aggregate).await.map_err(|error| error.to_string()),
                Ok(Function::Transform(transform)) => serve(&api, *transform).await.map_err(|error| error.to_string()),
                Err(error) => Err(match report_init_error(&api, &error).await {
                    Ok(()) => error.message,
                    Err(not_told) => format!("{}\n{not_told}", error.message),
                }),
            };
            match error {
                Err(error) => error,
            }
        });
        eprintln!("pixel-engine: {ended}");
        Outcome::Failed
    }
}

enum Function {
    Aggregate(Box<Aggregate>),
    Transform(Box<Transform>),
}

/// The function that the environment asks for, ready to be invoked.
async fn function() -> Result<Function, HandlerError> {
    let variables =
        env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    let wrong = |message: String| HandlerError { kind: "Runtime.WrongSettings", message };
    match env::var(FUNCTION_VARIABLE).as_deref() {
        Ok("aggregate") => {
            let mut aggregate = Aggregate::from_variables(variables).map_err(|errors| wrong(errors.to_string()))?;
            let started = aggregate.start().await;
            started.map_err(|message| HandlerError { kind: "Runtime.NoTarget", message })?;
            Ok(Function::Aggregate(Box::new(aggregate)))
        }
        Ok("transform") => {
            let transform = Transform::from_variables(variables).map_err(|errors| wrong(errors.to_string()))?;
            Ok(Function::Transform(Box::new(transform)))
        }
        Ok(other) => Err(wrong(format!("{FUNCTION_VARIABLE}={other}: no such function; there are {FUNCTIONS}"))),
        Err(_) => Err(wrong(format!("{FUNCTION_VARIABLE} is not set: which function this is, {FUNCTIONS}"))),
    }
}
