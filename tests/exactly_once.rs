use std::process::Command;
use std::thread;
use std::time::Duration;

use fake_aws::{Action, Bucket, FakeAws, Fault};

use crate::support::*;

const LINES: u64 = 30_000;

struct Test {
    aws: FakeAws,
    bucket: Bucket,
    workspace: Workspace,
}

impl Test {
    /// Plain, compressed, and with a last line without a newline.
    fn new() -> Test {
        let (aws, workspace) = (FakeAws::start(), Workspace::new());
        let bucket = aws.bucket("logs");
        workspace.write("a.log", &log_from("realtime-46", 0, 10_000));
        workspace.write("b.log.gz", &gzip(&log_from("realtime-46", 10_000, 10_000)));
        workspace.write("c.log", log_from("realtime-46", 20_000, 10_000).trim_ascii_end());
        Test { aws, bucket, workspace }
    }

    fn command(&self, target: &str) -> Command {
        let arguments = ["a.log", "b.log.gz", "c.log", "--to", target, "--resume", "checkpoint", "--quiet"];
        let mut command = self.workspace.ingest_command(&arguments);
        command.envs(self.aws.environment()).env_remove("AWS_PROFILE");
        command
    }

    fn ingest(&self, target: &str) -> Run {
        self.workspace.ingest_with(&mut self.command(target), b"")
    }

    /// Every line is in one object, and in no other.
    #[track_caller]
    fn has_all_once(&self) {
        let mut seen = Seen::new(LINES);
        self.bucket.objects().values().for_each(|object| seen.ids_in(&object.bytes));
        self.workspace.objects("out").iter().for_each(|object| seen.ids_in(&object.bytes));
        seen.all();
        assert_eq!(self.aws.counters().violations, Vec::<String>::new());
    }
}

const S3: &str = "s3://logs/hits/";

/// The request that completes an object hangs, and its process is killed: whether the object was
/// stored, nobody was told.
#[test]
fn a_run_that_is_killed_while_it_publishes_is_taken_up_by_what_the_bucket_has() {
    for stored in [true, false] {
        let test = Test::new();
        test.bucket.fault_on(Action::CompleteMultipartUpload, Fault::NeverReply { stored });
        let mut child = test.command(S3).spawn().expect("it starts");
        wait_until("the object is about to be complete", || {
            test.aws.counters().requests_of(Action::CompleteMultipartUpload) == 1
        });
        wait_until("it is, if it ever will be", || test.bucket.objects().len() == usize::from(stored));
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        let before = test.bucket.objects().len();

        // Whoever delivers to another place cannot know.
        test.ingest("dir:out").exits(1).says(&["checkpoint", "may have been stored or not", S3]);
        let run = test.ingest(S3).ok();
        assert_eq!(run.summary().lines_shipped, if stored { 0 } else { LINES });
        assert_eq!((before, test.bucket.objects().len()), (usize::from(stored), 1));
        // What was not complete cannot be any more.
        assert_eq!(test.bucket.uploads(), 0);
        test.has_all_once();
        assert_eq!(test.ingest(S3).ok().summary().lines_in, 0);
    }
}

#[test]
fn a_reply_that_never_comes_is_no_second_object_either() {
    for stored in [true, false] {
        let test = Test::new();
        test.bucket.fault_on(Action::CompleteMultipartUpload, Fault::NeverReply { stored });
        let mut command = test.command(S3);
        command.args(["--give-up-after", "1s", "--request-timeout", "500ms"]);
        for _ in 0..8 {
            test.bucket.fault_on(Action::CompleteMultipartUpload, Fault::error(500, "InternalError", "Again."));
        }
        test.workspace.ingest_with(&mut command, b"").exits(1).says(&["given up after"]);
        assert_eq!(test.bucket.objects().len(), usize::from(stored));
        while test.ingest(S3).code != Some(0) {}
        test.has_all_once();
        assert_eq!((test.bucket.objects().len(), test.bucket.uploads()), (1, 0));
    }
}

#[test]
fn a_run_that_is_killed_at_any_moment_leaves_no_line_out_and_puts_none_into_two_objects() {
    for (target, rounds) in [("dir:out", soak(3, 40)), (S3, soak(2, 20))] {
        for round in 0..rounds {
            let test = Test::new();
            let mut killed = 0;
            // Later and later, until one has time enough.
            for place in 0.. {
                let mut child = test.command(target).spawn().expect("it starts");
                thread::sleep(Duration::from_millis(5 + (4 + round) * place));
                if child.try_wait().expect("its state can be had").is_some() {
                    break;
                }
                child.kill().expect("it runs");
                child.wait().expect("it ended");
                killed += 1;
            }
            test.ingest(target).ok();
            test.has_all_once();
            assert!(killed > 2, "{killed} runs were killed");
            // The rest of what was killed is gone as well, but for parts whose upload nobody knows.
            let left = all_files_below(&test.workspace.path("out"));
            let partial = left.iter().filter(|path| path.extension().is_some_and(|it| it == "partial")).count();
            assert!(partial <= killed, "{partial} of {killed}");
        }
    }
}
