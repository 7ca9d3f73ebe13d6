//! The per-epoch log: `yolov4_training_log_<arch>.csv`.
//!
//! Columns as in the original: `epoch` (1-based), then in ASCII order `AP_<class>` …, `loss`, `lr`, `mAP`,
//! `validation_loss`. Epochs without validation hold `nan`. Resuming keeps the rows of the epochs before.

use super::Epoch;

/// The header line for these classes.
pub(super) fn header(classes: &[String]) -> String {
    let mut columns: Vec<String> = classes.iter().map(|class| format!("AP_{class}")).collect();
    columns.sort();
    format!("epoch,{},loss,lr,mAP,validation_loss\n", columns.join(","))
}

/// One epoch's line. Classes are sorted by name already, which is the order of the header.
pub(super) fn row(epoch: &Epoch, classes: usize) -> String {
    let number = |value: Option<f64>| value.map_or("nan".into(), |value| value.to_string());
    let validation = epoch.validation.as_ref();
    let aps = (0..classes).map(|class| number(validation.and_then(|v| v.report.per_class[class].ap)));
    let mut fields = vec![epoch.epoch.to_string()];
    fields.extend(aps);
    fields.push(epoch.loss.to_string());
    fields.push(epoch.learning_rate.to_string());
    fields.push(number(validation.and_then(|v| v.report.map)));
    fields.push(number(validation.map(|v| v.loss)));
    fields.join(",") + "\n"
}

/// The rows of `log` up to and including `epoch`, header included: what a run resumed after `epoch` goes on from.
pub(super) fn up_to(log: &str, epoch: u32) -> String {
    log.lines()
        .enumerate()
        .filter(|(index, line)| {
            let number = line.split(',').next().and_then(|field| field.parse::<u32>().ok());
            *index == 0 || number.is_some_and(|number| number <= epoch)
        })
        .map(|(_, line)| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_log_keeps_the_epochs_before() {
        let log = format!(
            "{}1,0.5,2.0,0.1,0.5,3.0\n2,nan,1.5,0.1,nan,nan\n3,0.6,1.0,0.1,0.6,2.0\n",
            header(&["a".into()])
        );
        assert_eq!(up_to(&log, 2).lines().count(), 3);
        assert!(up_to(&log, 2).ends_with("2,nan,1.5,0.1,nan,nan\n"));
        assert_eq!(up_to("", 5), "");
    }
}
