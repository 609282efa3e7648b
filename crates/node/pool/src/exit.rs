//! How the end of a guest process is told: in the words of Go's `os.ProcessState`,
//! which AWS's errors carry.

use proto_sandbox::GuestExit;

/// `exit status 127`, `signal: killed`; none for exit code 0.
pub(crate) fn reason(status: GuestExit) -> Option<String> {
    match status {
        GuestExit::Code(0) => None,
        GuestExit::Code(code) => Some(format!("exit status {code}")),
        GuestExit::Signal(signal) => Some(match signal_text(signal) {
            Some(text) => format!("signal: {text}"),
            None => format!("signal: signal {signal}"),
        }),
    }
}

fn signal_text(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_go_tells_them() {
        let told = |status| reason(status).unwrap_or_default();
        assert_eq!(told(GuestExit::Code(0)), "");
        assert_eq!(told(GuestExit::Code(127)), "exit status 127");
        assert_eq!(told(GuestExit::Signal(11)), "signal: segmentation fault");
        assert_eq!(told(GuestExit::Signal(9)), "signal: killed");
        assert_eq!(told(GuestExit::Signal(40)), "signal: signal 40");
    }
}
