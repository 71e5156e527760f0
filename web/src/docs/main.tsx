/** The API's documentation, from the server's own description of itself. Nothing is fetched elsewhere. */
import { render } from 'solid-js/web';
import { For, Show, createMemo, createSignal, type JSX } from 'solid-js';
import '../base.css';
import './docs.css';
import { loadLanguage, t } from '../i18n';
import { get } from '../net/api';
import { Icon } from '../ui/icons';
import { load } from '../ui/load';
import { View } from '../ui/View';
import { operationsByTag, resolve, rowsOf, typeOf, type Document, type Operation, type Schema } from './openapi';

function Docs(): JSX.Element {
  const api = load(() => true, (_, signal) => get<Document>('/v1/openapi.json', undefined, signal));
  return <View data={api}>{(document) => <Api document={document()} />}</View>;
}

function Api(props: { document: Document }): JSX.Element {
  const [query, setQuery] = createSignal('');
  const groups = createMemo(() => operationsByTag(props.document));
  const found = createMemo(() => {
    const words = query().toLowerCase();
    return groups()
      .map(([tag, operations]): [string, Operation[]] => [tag, operations.filter((one) => `${one.method} ${one.path} ${one.summary ?? ''}`.toLowerCase().includes(words))])
      .filter(([, operations]) => operations.length > 0);
  });
  return (
    <div class="docs">
      <nav class="docs-nav" aria-label={t('docs.contents')}>
        <a class="home" href="/" title={t('nav.fleet')}><span class="mark"><Icon name="arrow" /></span><strong>{props.document.info.title}</strong></a>
        <input class="input" type="search" placeholder={t('docs.search')} aria-label={t('docs.search')} onInput={(event) => setQuery(event.currentTarget.value.trim())} />
        <For each={found()}>
          {([tag, operations]) => (
            <>
              <h2>{tag}</h2>
              <ul><For each={operations}>{(one) => <li><a href={`#${one.anchor}`}><Method name={one.method} /><span class="truncate">{one.path}</span></a></li>}</For></ul>
            </>
          )}
        </For>
        <Show when={found().length === 0}><p class="muted">{t('docs.none')}</p></Show>
      </nav>
      <main class="docs-main" tabindex="-1">
        <h1>{props.document.info.title} <span class="muted">{props.document.info.version}</span></h1>
        <Prose text={props.document.info.description} />
        <p><a href="/v1/openapi.json" download="">openapi.json</a></p>
        <For each={found()}>
          {([tag, operations]) => (
            <section class="stack">
              <h2 class="tag">{tag}</h2>
              <Prose text={props.document.tags?.find((one) => one.name === tag)?.description} />
              <For each={operations}>{(one) => <OperationCard document={props.document} operation={one} />}</For>
            </section>
          )}
        </For>
      </main>
    </div>
  );
}

function Method(props: { name: string }): JSX.Element {
  return <span class={`method ${props.name}`}>{props.name.toUpperCase()}</span>;
}

/** Paragraphs, with `code` set as code; nothing else of Markdown is needed. */
function Prose(props: { text: string | undefined }): JSX.Element {
  return (
    <For each={(props.text ?? '').split(/\n{2,}/).filter(Boolean)}>
      {(paragraph) => <p><For each={paragraph.split(/(`[^`]+`)/)}>{(part) => (part.startsWith('`') && part.length > 2 ? <code>{part.slice(1, -1)}</code> : part)}</For></p>}
    </For>
  );
}

function OperationCard(props: { document: Document; operation: Operation }): JSX.Element {
  const { operation, document } = props;
  const body = (): [string, Schema | undefined][] => Object.entries(operation.requestBody?.content ?? {}).map(([type, media]) => [type, media.schema]);
  return (
    <article class="card stack" id={operation.anchor}>
      <h3 class="row wrap"><Method name={operation.method} /><code class="path">{operation.path}</code></h3>
      <Show when={operation.summary}><p><strong>{operation.summary}</strong></p></Show>
      <Prose text={operation.description} />
      <Show when={operation.parameters?.length}>
        <h4>{t('docs.parameters')}</h4>
        <Rows
          rows={operation.parameters!.map((given) => resolve(document, given)).map((one) => ({
            name: one.name, depth: 0, required: one.required ?? false,
            type: typeOf(document, one.schema), description: [one.in, one.description].filter(Boolean).join(' · '),
          }))}
        />
      </Show>
      <For each={body()}>
        {([type, schema]) => <><h4>{t('docs.body')} <code>{type}</code> {typeOf(document, schema)}</h4><Rows rows={rowsOf(document, schema)} /></>}
      </For>
      <h4>{t('docs.answers')}</h4>
      <For each={Object.entries(operation.responses ?? {})}>
        {([status, given]) => {
          const answer = resolve(document, given);
          return (
            <details>
              <summary><span class="badge" classList={{ moving: status.startsWith('2'), waiting: /^[345]/.test(status) }}>{status}</span> {answer.description}</summary>
              <For each={Object.entries(answer.content ?? {})}>
                {([type, media]) => <><p class="muted small"><code>{type}</code> {typeOf(document, media.schema)}</p><Rows rows={rowsOf(document, media.schema)} /></>}
              </For>
            </details>
          );
        }}
      </For>
    </article>
  );
}

function Rows(props: { rows: ReturnType<typeof rowsOf> }): JSX.Element {
  return (
    <Show when={props.rows.length > 0}>
      <div class="table-scroll" tabindex="0">
        <table class="table">
          <tbody>
            <For each={props.rows}>
              {(row) => (
                <tr>
                  <td class={`field-name depth-${row.depth}`}><code>{row.name}</code><Show when={row.required}><span class="problem-text" title={t('docs.required')}> *</span></Show></td>
                  <td class="muted small">{row.type}</td>
                  <td>{row.description}</td>
                </tr>
              )}
            </For>
          </tbody>
        </table>
      </div>
    </Show>
  );
}

await loadLanguage();
document.title = `${t('nav.docs')} · Waylog`;
render(() => <Docs />, document.getElementById('app')!);
