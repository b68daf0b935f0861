//! When a directory is read, in milliseconds after a start.

use super::*;

struct Clock(Instant);

impl Clock {
    fn at(&self, millis: u64) -> Instant {
        self.0 + Duration::from_millis(millis)
    }

    fn due(&self, settling: &Settling) -> Option<u128> {
        settling.due().map(|due| (due - self.0).as_millis())
    }
}

fn start() -> (Clock, Settling) {
    (Clock(Instant::now()), Settling::default())
}

fn finished(name: &str) -> Change {
    Change::Finished(name.into())
}

fn writing(name: &str) -> Change {
    Change::Writing(name.into())
}

fn unread(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn without_a_change_there_is_nothing_to_read() {
    let (clock, mut settling) = start();
    assert_eq!(clock.due(&settling), None);
    assert_eq!(settling.take(clock.at(5)), unread(&[]));
}

#[test]
fn a_directory_is_read_after_a_moment_of_silence_or_when_patience_ends() {
    let (clock, mut settling) = start();
    for (at, due) in [(0, 20), (15, 35), (30, 50), (190, 200), (199, 200)] {
        settling.observe(Change::Unknown, clock.at(at));
        assert_eq!(clock.due(&settling), Some(due));
    }
    settling.take(clock.at(200));
    assert_eq!(clock.due(&settling), None);
}

#[test]
fn a_file_is_not_read_while_it_is_written_and_holds_no_other_up() {
    let (clock, mut settling) = start();
    settling.observe(writing("a.yaml"), clock.at(0));
    settling.observe(finished("b.yaml"), clock.at(100));
    assert_eq!(clock.due(&settling), Some(120));
    assert_eq!(settling.take(clock.at(120)), unread(&["a.yaml"]));
    settling.observe(finished("a.yaml"), clock.at(500));
    assert_eq!(clock.due(&settling), Some(520));
    assert_eq!(settling.take(clock.at(520)), unread(&[]));
}

#[test]
fn a_file_that_nobody_closes_is_read_in_the_end() {
    let (clock, mut settling) = start();
    settling.observe(writing("a.yaml"), clock.at(0));
    settling.observe(writing("a.yaml"), clock.at(1000));
    assert_eq!(clock.due(&settling), Some(3000));
    assert_eq!(settling.take(clock.at(3000)), unread(&[]));
    assert_eq!(clock.due(&settling), None);
}

#[test]
fn a_look_that_was_asked_for_comes_at_its_time_or_earlier() {
    let (clock, mut settling) = start();
    settling.look_again(clock.at(1000));
    assert_eq!(clock.due(&settling), Some(1000));
    settling.observe(Change::Unknown, clock.at(10));
    assert_eq!(clock.due(&settling), Some(30));
    settling.take(clock.at(30));
    assert_eq!(clock.due(&settling), None);
}
