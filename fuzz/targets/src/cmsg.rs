//! A guest's control buffer of sendmsg(2): what is found lies within it, and what is written down again is found again.

use kernel_net::cmsg::{self, ControlWriter};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(found) = cmsg::parse(bytes) else {
        return;
    };
    let mut writer = ControlWriter::new(cmsg::MAX_CONTROL);
    for control in &found {
        if let Ok(rights) = cmsg::rights(control.data) {
            assert!(rights.len() * 4 <= control.data.len());
        }
        let _ = cmsg::credentials(control.data);
        writer.put(control.level, control.kind, control.data);
    }
    if bytes.len() > cmsg::MAX_CONTROL / 2 {
        return;
    }
    let (again, _) = writer.finish();
    let again = cmsg::parse(&again).expect("what was written");
    let plain = |list: &[cmsg::RawControl<'_>]| -> Vec<_> {
        list.iter()
            .map(|control| (control.level, control.kind, control.data.to_vec()))
            .collect()
    };
    assert_eq!(plain(&found), plain(&again));
}
