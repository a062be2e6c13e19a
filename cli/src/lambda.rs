//! `pixel-engine lambda`.

use std::env;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
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
  PIXEL_ENGINE_LAMBDA=transform  Firehose's data transformation: lines into JSON lines")]
pub(crate) struct Lambda {}

/// Which function it is.
const FUNCTION_VARIABLE: &str = "PIXEL_ENGINE_LAMBDA";
const FUNCTIONS: &str = "transform";

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
        let error = match transform() {
            Ok(transform) => match runtime.block_on(serve(&api, transform)) {
                Err(error) => error.to_string(),
            },
            Err(message) => {
                let error = HandlerError { kind: "Runtime.WrongSettings", message };
                match runtime.block_on(report_init_error(&api, &error)) {
                    Ok(()) => error.message,
                    Err(not_told) => format!("{}\n{not_told}", error.message),
                }
            }
        };
        eprintln!("pixel-engine: {error}");
        Outcome::Failed
    }
}

fn transform() -> Result<Transform, String> {
    let variables =
        env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    match env::var(FUNCTION_VARIABLE).as_deref() {
        Ok("transform") => Transform::from_variables(variables).map_err(|errors| errors.to_string()),
        Ok(other) => Err(format!("{FUNCTION_VARIABLE}={other}: no such function; there is {FUNCTIONS}")),
        Err(_) => Err(format!("{FUNCTION_VARIABLE} is not set: which function this is, {FUNCTIONS}")),
    }
}
