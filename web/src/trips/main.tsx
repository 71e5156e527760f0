import '../base.css';
