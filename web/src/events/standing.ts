/** Where an event stands with an endpoint, in words. */
import { dateTime, t } from '../i18n';
import type { SentTo } from './types';

/** The tone and the word of where an event stands with one endpoint. */
export function standing(one: SentTo): { tone: string; text: string } {
  if (one.waiting) {
    const again = one.next_at ? t('sent.again_at', { at: dateTime(Date.parse(one.next_at)) }) : t('sent.waiting');
    return { tone: 'waiting', text: again };
  }
  if (one.outcome === 'delivered') return { tone: 'moving', text: t('webhooks.ok') };
  return { tone: 'problem', text: t('sent.gave_up') };
}
