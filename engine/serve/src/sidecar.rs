//! All pipelines of a configuration file, their journals and their services; and what changes when
//! the file does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pixel_engine_core::journal::{Journal, JournalError};

use crate::config::{Address, FileConfig, PipelineConfig};
use crate::listen::{Listening, Socket, TlsError};
use crate::pipeline::{Ended, Stop, keep_up};
use crate::watch::Watches;

/// Between two looks at whether journals and objects are read.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a pipeline may take to read what is left in journals, and of objects that were begun,
/// before it is stopped.
const MAX_READING: Duration = Duration::from_secs(2);

/// Why a sidecar, or a part of it, cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An address cannot be bound.
    #[error("listening to {address}: {error}")]
    Listen {
        /// Where.
        address: Address,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// The certificate of a service.
    #[error("listening to {address}: {error}")]
    Tls {
        /// Where.
        address: Address,
        /// What is wrong with it.
        #[source]
        error: TlsError,
    },
    /// Threads cannot be started.
    #[error("starting threads: {0}")]
    Threads(#[source] std::io::Error),
}

/// Pipelines that are up.
pub struct Sidecar {
    pipelines: BTreeMap<String, Running>,
    watches: Arc<Watches>,
    journals: BTreeMap<PathBuf, Arc<Journal>>,
    /// They stay open while their services begin anew, so that who connects meanwhile waits and is
    /// not refused.
    sockets: BTreeMap<Address, Socket>,
    ended: Vec<(String, Ended)>,
}

struct Running {
    config: PipelineConfig,
    /// None while there is nothing to listen to.
    listening: Option<Listening>,
    stop: Stop,
    thread: JoinHandle<Ended>,
}

impl Sidecar {
    /// Starts all pipelines of the file; they can be seen through `watches`.
    ///
    /// # Errors
    /// A journal is in use, an address is, or a certificate cannot be read. Nothing stays up then.
    pub fn start(file: FileConfig, watches: Arc<Watches>) -> Result<Sidecar, StartError> {
        let (pipelines, journals, sockets) = Default::default();
        let mut sidecar = Sidecar { pipelines, watches, journals, sockets, ended: Vec::new() };
        match sidecar.change(file) {
            Ok(()) => Ok(sidecar),
            Err(error) => {
                sidecar.stop();
                Err(error)
            }
        }
    }

    /// Goes on with another configuration: pipelines that it does not change stay as they are; the
    /// others are stopped, which delivers what they have, and begin anew.
    ///
    /// # Errors
    /// As for [`Sidecar::start`], for a pipeline that is new or changed; that and those behind it
    /// are not up then.
    pub fn change(&mut self, file: FileConfig) -> Result<(), StartError> {
        let gone = self.pipelines.values().map(|running| &running.config).filter(|config| !file.has(config));
        self.end(gone.map(|config| config.name.clone()).collect());
        self.watches.keep(file.pipelines.iter().map(|pipeline| pipeline.name.as_str()));
        let journals: BTreeSet<&Path> = file.pipelines.iter().flat_map(PipelineConfig::journals).collect();
        self.journals.retain(|folder, _| journals.contains(folder.as_path()));
        let addresses: BTreeSet<&Address> =
            file.pipelines.iter().flat_map(PipelineConfig::services).map(|service| &service.address).collect();
        self.sockets.retain(|address, _| addresses.contains(address));
        // All of them first, as one pipeline may read the journal of another.
        for pipeline in &file.pipelines {
            let Some(config) = &pipeline.journal else { continue };
            match self.journals.get(&config.folder) {
                Some(journal) => journal.set_limits(config.size, config.gather),
                None => {
                    let journal = Journal::open(&config.folder, config.size, config.gather)?;
                    self.journals.insert(config.folder.clone(), Arc::new(journal));
                }
            }
        }
        for (folder, journal) in &self.journals {
            let readers = file.pipelines.iter().filter(|it| it.journals().any(|read| read == folder));
            journal.set_readers(readers.map(|pipeline| pipeline.name.clone()));
        }
        for config in file.pipelines {
            if !self.pipelines.contains_key(&config.name) {
                self.begin(config)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, config: PipelineConfig) -> Result<(), StartError> {
        let listening = self.listen(&config)?;
        let journals = config.journals().map(|folder| Arc::clone(&self.journals[folder])).collect();
        let own = config.journal.as_ref().map(|journal| Arc::clone(&self.journals[&journal.folder]));
        let watch = self.watches.watch(&config, own);
        let stop = Stop::default();
        let (pipeline, stopping) = (config.clone(), stop.clone());
        let thread = thread::Builder::new()
            .name(config.name.clone())
            .spawn(move || keep_up(&pipeline, journals, &watch, &stopping))
            .map_err(StartError::Threads)?;
        self.pipelines.insert(config.name.clone(), Running { config, listening, stop, thread });
        Ok(())
    }

    fn listen(&mut self, config: &PipelineConfig) -> Result<Option<Listening>, StartError> {
        let Some(journal) = &config.journal else { return Ok(None) };
        let mut listening = Listening::new().map_err(StartError::Threads)?;
        for service in config.services() {
            let address = || service.address.clone();
            let failed = |error| StartError::Listen { address: address(), error };
            if !self.sockets.contains_key(&service.address) {
                self.sockets.insert(address(), Socket::bind(&service.address).map_err(failed)?);
            }
            let socket = self.sockets[&service.address].try_clone().map_err(failed)?;
            let journal = Arc::clone(&self.journals[&journal.folder]);
            listening
                .serve(service, socket, journal, &config.config)
                .map_err(|error| StartError::Tls { address: address(), error })?;
        }
        Ok(Some(listening))
    }

    /// Where the service of that address is on the network. Its port is another one if that is 0.
    pub fn local_address(&self, address: &Address) -> Option<SocketAddr> {
        self.sockets.get(address)?.local_address()
    }

    /// Whether every pipeline has ended by itself, as one of standard input does.
    pub fn has_ended(&self) -> bool {
        self.pipelines.values().all(|running| running.thread.is_finished())
    }

    /// Stops everything: services first, then what is left in journals and of objects is read, and what was read
    /// is delivered or spooled. How each pipeline ended, in the order in which they did.
    pub fn stop(mut self) -> Vec<(String, Ended)> {
        let all = self.pipelines.keys().cloned().collect();
        self.end(all);
        self.ended
    }

    fn end(&mut self, names: Vec<String>) {
        let mut ending: Vec<Running> = names.iter().filter_map(|name| self.pipelines.remove(name)).collect();
        // At the same time, as each of them may take as long as its grace.
        let closing =
            ending.iter_mut().filter_map(|running| running.listening.take()).map(|it| thread::spawn(|| it.close()));
        closing.collect::<Vec<_>>().into_iter().for_each(join);
        ending.iter().for_each(|running| running.stop.close());
        let begun = Instant::now();
        while ending.iter().any(|running| running.stop.is_reading()) && begun.elapsed() < MAX_READING {
            thread::sleep(INTERVAL);
        }
        ending.iter().for_each(|running| running.stop.now());
        for running in ending {
            self.ended.push((running.config.name, join(running.thread)));
        }
    }
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
