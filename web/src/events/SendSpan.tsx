/** Sending everything of a time again to one endpoint, as after a failure on the other side. */
import type { JSX } from 'solid-js';
import { t, tn } from '../i18n';
import { post } from '../net/api';
import { Dialog } from '../ui/Dialog';
import { attempt, toast } from '../ui/toast';
import { localMinute } from './localMinute';

const HOUR_MS = 3_600_000;

export function SendSpan(props: { path: string; close: () => void; done: () => void }): JSX.Element {
  const now = Date.now();
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const time = (name: string): string => new Date(String(form.get(name))).toISOString();
    await attempt(async () => {
      const { queued } = await post<{ queued: number }>(`${props.path}/redeliver`, { from: time('from'), to: time('to') });
      toast(tn('webhooks.queued', queued));
      props.done();
      props.close();
    });
  };
  return (
    <Dialog title={t('webhooks.send_span')} close={props.close}>
      <form onSubmit={submit}>
        <p>{t('webhooks.send_span_say')}</p>
        <label class="field"><span>{t('webhooks.from')}</span><input class="input" name="from" type="datetime-local" required value={localMinute(now - HOUR_MS)} /></label>
        <label class="field"><span>{t('webhooks.to')}</span><input class="input" name="to" type="datetime-local" required value={localMinute(now + 60_000)} /></label>
        <button type="submit" class="button primary big">{t('webhooks.redeliver')}</button>
      </form>
    </Dialog>
  );
}
