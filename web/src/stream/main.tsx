import { startPage } from '../ui/start';
import './stream.css';
import { StreamPage } from './StreamPage';

await startPage('nav.stream', () => <StreamPage />);
